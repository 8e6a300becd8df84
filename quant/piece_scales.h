// The scales of a 4-bit weight: by blocks, and by pieces of 64 elements, as kernels that decode while they multiply ask for them.
#pragma once

#include <algorithm>
#include <bit>

#include "quant/blockwise_math.h"
#include "quant/blockwise_span.h"
#include "quant/layout_constants.h"

namespace nibble::quant {

inline float block_scale(const DequantizeSpan& w, uint64_t block) {
  if (w.absmax != nullptr) return w.absmax[block];
  return nested_absmax_value(w.absmax_codes[block], w.nested_absmax[block / kNestedBlocksize], w.nested_offset);
}

inline constexpr int64_t kPiece = 64;

// Whether each piece of a weight with rows of `in` elements lies in one row and one block.
inline bool has_pieces(const DequantizeSpan& w, int64_t in) { return in % kPiece == 0 && w.blocksize >= kPiece; }

// The scales one by one.
class PieceScales {
 public:
  explicit PieceScales(const DequantizeSpan& w) : w_(w), shift_(std::countr_zero(static_cast<uint64_t>(w.blocksize / kPiece))) {}

  float operator()(int64_t piece) const { return block_scale(w_, static_cast<uint64_t>(piece) >> shift_); }

 private:
  const DequantizeSpan& w_;
  int shift_;
};

// scales[i]: of piece first + i. One by one they are a third of a product's time, so the usual storage, where pieces are blocks, has a
// loop of its own. REQUIRES has_pieces
inline void rebuild_scales(const DequantizeSpan& w, int64_t first, int64_t pieces, float* scales) {
  if (w.absmax != nullptr || w.blocksize != kPiece) {
    const PieceScales scale(w);
    for (int64_t i = 0; i < pieces; ++i) scales[i] = scale(first + i);
    return;
  }
  const float offset = w.nested_offset;
  for (int64_t i = 0, block = first; i < pieces;) {
    const int64_t n = std::min(pieces - i, kNestedBlocksize - block % kNestedBlocksize);
    const float nested = w.nested_absmax[block / kNestedBlocksize];
    const uint8_t* codes = w.absmax_codes + block;
    for (int64_t j = 0; j < n; ++j) scales[i + j] = nested_absmax_value(codes[j], nested, offset);
    i += n;
    block += n;
  }
}

}  // namespace nibble::quant
