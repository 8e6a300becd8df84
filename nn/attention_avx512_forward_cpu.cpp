// Forward: 48 queries against 128 keys at a time with a running maximum and sum (online softmax, Milakov & Gimelshein
// 2018). A tile's rows are queries, its columns keys.
#include "nn/attention_avx512_cpu.h"

#include <algorithm>
#include <numbers>
#include <stdexcept>

#include "core/round_up.h"
#include "nn/attention_avx512_rows.h"
#include "nn/attention_math.h"
#include "nn/avx512_tile.h"

namespace nibble::nn {

int64_t packed_dwords(int64_t tokens, int64_t width) { return round_up(tokens, 64) * width / 2; }

#if defined(__x86_64__)

namespace {

constexpr int64_t kForwardRows = kAvx512ForwardRows;
constexpr int64_t kKeys = 2 * kTileColumns;  // keys between two updates of the running maximum

int64_t carve(void* scratch, int64_t width, ForwardScratch& s) {
  return carve_forward(scratch, kForwardRows, width, kTileRows * kKeys, kTileRows * kKeys, s);
}

// Rows [row, row + kTileRows) of the block against the keys [first, first + kKeys).
NIBBLE_AVX512_BF16 void forward_tile(const ForwardScratch& s, const uint32_t* packed_k, const uint32_t* packed_v,
                                     const TileSettings& settings, int64_t query, int64_t row, int64_t first) {
  const int64_t width = settings.width;
  const int64_t end = std::min(query + kTileRows, settings.tokens);  // one past the last key that any row sees
  const int64_t registers = std::min(kKeys, round_up(end - first, 16)) / 16;
  const TileOperand q{reinterpret_cast<const uint32_t*>(s.q) + row * width / 2, width / 2, 1};
  for (int64_t n = 0; n < registers; n += 4) {
    store_columns(std::min<int64_t>(4, registers - n), s.scores + 16 * n, kKeys, q,
                  packed_k + (first + 16 * n) * width / 2, kTileColumns, width / 2);
  }
  alignas(64) float factor[32];
  const SoftmaxRows rows{s.rows.sums + row * width, s.rows.max + row, s.rows.total + row * 16};
  softmax_rows({s.scores, s.p, kKeys, kKeys, registers, query, first, settings.window}, rows, kTileRows,
               settings.scale * std::numbers::log2e_v<float>, factor);
  const TileOperand p{reinterpret_cast<const uint32_t*>(s.p), kKeys / 2, 1};
  add_all_columns(width, rows.sums, width, factor, p, packed_v + first / 2 * width, registers * 8);
}

}  // namespace

int64_t forward_scratch_bytes_avx512(int64_t width) {
  ForwardScratch none;
  return carve(nullptr, width, none);
}

NIBBLE_AVX512_BF16 void pack_keys_cpu(const HeadRows& k, const TileSettings& settings, uint32_t* packed) {
  pack_transposed(k.data, k.stride, settings.tokens, settings.width, packed);
}

NIBBLE_AVX512_BF16 void pack_values_cpu(const HeadRows& v, const TileSettings& settings, uint32_t* packed) {
  pack_row_pairs(v.data, v.stride, settings.tokens, round_up(settings.tokens, kTileColumns), settings.width, packed);
}

NIBBLE_AVX512_BF16 void attention_forward_avx512_cpu(const HeadRows& q, const uint32_t* packed_k, const uint32_t* packed_v,
                                                     const TileSettings& settings, int64_t first, const HeadRows& out, float* lse,
                                                     void* scratch) {
  const int64_t width = settings.width, rows = std::min(kForwardRows, settings.tokens - first);
  ForwardScratch s;
  carve(scratch, width, s);
  copy_rows(q.data + first * q.stride, q.stride, rows, kForwardRows, width, s.q);
  clear_softmax_rows(s.rows, kForwardRows, width);
  const int64_t begin = first_key(first, settings.window) / kTileColumns * kTileColumns;
  for (int64_t key = begin; key < first + rows; key += kKeys) {
    for (int64_t row = 0; row < rows; row += kTileRows) {
      const int64_t query = first + row;
      const bool seen = key < std::min(query + kTileRows, settings.tokens) && key + kKeys > first_key(query, settings.window);
      if (seen) forward_tile(s, packed_k, packed_v, settings, query, row, key);
    }
  }
  store_softmax_rows(s.rows, rows, width, first, out, lse);
}

#else

// avx512_bf16_supported is the caller's guard; nothing below is reached without it.
int64_t forward_scratch_bytes_avx512(int64_t) { return 0; }
void pack_keys_cpu(const HeadRows&, const TileSettings&, uint32_t*) { throw std::logic_error("no AVX512_BF16"); }
void pack_values_cpu(const HeadRows&, const TileSettings&, uint32_t*) { throw std::logic_error("no AVX512_BF16"); }
void attention_forward_avx512_cpu(const HeadRows&, const uint32_t*, const uint32_t*, const TileSettings&, int64_t, const HeadRows&,
                                  float*, void*) {
  throw std::logic_error("no AVX512_BF16");
}

#endif

}  // namespace nibble::nn
