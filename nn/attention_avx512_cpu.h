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

// Strides count elements. heads of one document: x + token * stride.
struct HeadRows {
  uint16_t* data;   // bf16 bits
  int64_t stride;
};

struct TileSettings {
  int64_t tokens;   // of the document
  int64_t width;    // D, a multiple of 16 (AMX: of 32)
  int64_t window;   // 0: none
  float scale;      // > 0
};

// Dwords of a document's packed keys (as many again for its values).
int64_t packed_dwords(int64_t tokens, int64_t width);
void pack_keys_cpu(const HeadRows& k, const TileSettings& settings, uint32_t* packed);
void pack_values_cpu(const HeadRows& v, const TileSettings& settings, uint32_t* packed);

// All gradients of one query head. dk and dv [tokens, D] fp32 are written, or added to with `accumulate`.
struct BackwardHead {
  HeadRows dout, q, k, v, out;
  const float* lse;  // [tokens]
  HeadRows dq;
  float* dk;
  float* dv;
  bool accumulate;
};

// The kernels of one instruction set.
struct AttentionKernels {
  int64_t forward_rows;  // queries of one forward task
  // The queries [first, first + forward_rows) of one head. lse [tokens]; scratch of forward_scratch_bytes, 64-byte aligned.
  int64_t (*forward_scratch_bytes)(int64_t width);
  void (*forward)(const HeadRows& q, const uint32_t* packed_k, const uint32_t* packed_v, const TileSettings& settings,
                  int64_t first, const HeadRows& out, float* lse, void* scratch);
  int64_t (*backward_scratch_bytes)(int64_t tokens, int64_t width);
  void (*backward)(const BackwardHead& head, const TileSettings& settings, void* scratch);
};

inline constexpr int64_t kAvx512ForwardRows = 48;
int64_t forward_scratch_bytes_avx512(int64_t width);
void attention_forward_avx512_cpu(const HeadRows& q, const uint32_t* packed_k, const uint32_t* packed_v,
                                  const TileSettings& settings, int64_t first, const HeadRows& out, float* lse, void* scratch);
int64_t backward_scratch_bytes_avx512(int64_t tokens, int64_t width);
void attention_backward_avx512_cpu(const BackwardHead& head, const TileSettings& settings, void* scratch);

inline constexpr AttentionKernels kAvx512Attention{kAvx512ForwardRows, forward_scratch_bytes_avx512, attention_forward_avx512_cpu,
                                                   backward_scratch_bytes_avx512, attention_backward_avx512_cpu};

}  // namespace nibble::nn
