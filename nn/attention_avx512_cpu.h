// Tiled flash attention of one document in bf16 on AVX512_BF16: plain pointers, no allocation, one thread each.
//
// Scores are made in register tiles of 6 x 64 and never leave the first cache; tiles that the causal mask or the window
// hides are skipped in steps of 6 rows and 16 columns. bf16 values enter products in pairs (avx512_tile.h), so
// operands are packed once and used by all tiles: keys and values of forward once for a whole group of query heads.
//
// NUMERICS Products of bf16 are exact, sums fp32; probabilities are rounded to bf16 before they multiply values, and so are
// score gradients before they multiply queries and keys, as in FlashAttention-2.
#pragma once

#include <cstdint>

namespace nibble::nn {

inline constexpr int64_t kForwardRows = 48;   // queries of one forward task
inline constexpr int64_t kBackwardKeys = 96;  // keys whose gradients are summed at a time

// Strides count elements. heads of one document: x + token * stride.
struct HeadRows {
  uint16_t* data;   // bf16 bits
  int64_t stride;
};

struct TileSettings {
  int64_t tokens;   // of the document
  int64_t width;    // D, a multiple of 16
  int64_t window;   // 0: none
  float scale;
};

// Dwords of a document's packed keys (as many again for its values).
int64_t packed_dwords(int64_t tokens, int64_t width);
void pack_keys_cpu(const HeadRows& k, const TileSettings& settings, uint32_t* packed);
void pack_values_cpu(const HeadRows& v, const TileSettings& settings, uint32_t* packed);

// The queries [first, first + kForwardRows) of one head. lse [tokens]; scratch of forward_scratch_bytes, 64-byte aligned.
int64_t forward_scratch_bytes(int64_t width);
void attention_forward_cpu(const HeadRows& q, const uint32_t* packed_k, const uint32_t* packed_v, const TileSettings& settings,
                           int64_t first, const HeadRows& out, float* lse, void* scratch);

// All gradients of one query head. dk and dv [tokens, D] fp32 are written, or added to with `accumulate`.
struct BackwardHead {
  HeadRows dout, q, k, v, out;
  const float* lse;  // [tokens]
  HeadRows dq;
  float* dk;
  float* dv;
  bool accumulate;
};
int64_t backward_scratch_bytes(int64_t tokens, int64_t width);
void attention_backward_cpu(const BackwardHead& head, const TileSettings& settings, void* scratch);

}  // namespace nibble::nn
