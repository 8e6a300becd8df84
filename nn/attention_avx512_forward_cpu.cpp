// Forward: 48 queries against 128 keys at a time with a running maximum and sum (online softmax, Milakov & Gimelshein
// 2018). A tile's rows are queries, its columns keys.
#include "nn/attention_avx512_cpu.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

#include "core/round_up.h"
#include "nn/avx512_tile.h"
#include "nn/attention_math.h"

namespace nibble::nn {

int64_t packed_dwords(int64_t tokens, int64_t width) { return round_up(tokens, 64) * width / 2; }

#if defined(__x86_64__)

namespace {

constexpr int64_t kKeys = 2 * kTileColumns;  // keys between two updates of the running maximum
// Stands for -inf where a row has seen no key yet: differences of it stay finite.
constexpr float kNoScore = -1e30f;

struct ForwardScratch {
  uint16_t* q;        // [kForwardRows, D]
  float* sums;        // [kForwardRows, D], unnormalized output
  float* max;         // [kForwardRows], in units of log 2
  float* total;       // [kForwardRows, 16], sums of probabilities by lane
  float* scores;      // [kTileRows, kKeys]
  uint16_t* p;        // [kTileRows, kKeys]
};

ForwardScratch carve(void* scratch, int64_t width) {
  ForwardScratch s;
  auto* bytes = static_cast<unsigned char*>(scratch);
  const auto take = [&](int64_t count) {
    unsigned char* here = bytes;
    bytes += round_up(count, 64);
    return static_cast<void*>(here);
  };
  s.q = static_cast<uint16_t*>(take(kForwardRows * width * 2));
  s.sums = static_cast<float*>(take(kForwardRows * width * 4));
  s.max = static_cast<float*>(take(kForwardRows * 4));
  s.total = static_cast<float*>(take(kForwardRows * 16 * 4));
  s.scores = static_cast<float*>(take(kTileRows * kKeys * 4));
  s.p = static_cast<uint16_t*>(take(kTileRows * kKeys * 2));
  return s;
}

// Lanes of the 16 keys from `first` that query i sees.
inline __mmask16 seen_keys(int64_t i, int64_t first, int64_t window) {
  const int64_t end = std::clamp<int64_t>(i + 1 - first, 0, 16);
  const int64_t begin = std::clamp<int64_t>(first_key(i, window) - first, 0, 16);
  return static_cast<__mmask16>(((1u << end) - 1u) & ~((1u << begin) - 1u));
}

// Turns one row of scores into bf16 probabilities relative to its new maximum. -> factor of what was summed before
NIBBLE_TILE float softmax_row(const float* scores, int64_t registers, bool masked, int64_t query, int64_t first_column,
                              const TileSettings& settings, float scale_log2, float* max, float* total, uint16_t* p) {
  const __m512 scale = _mm512_set1_ps(scale_log2);
  __m512 x[kKeys / 16];
  __m512 highest = _mm512_set1_ps(kNoScore);
  for (int64_t n = 0; n < registers; ++n) {
    x[n] = _mm512_mul_ps(scale, _mm512_load_ps(scores + 16 * n));
    if (masked) {
      x[n] = _mm512_mask_mov_ps(_mm512_set1_ps(kNoScore), seen_keys(query, first_column + 16 * n, settings.window), x[n]);
    }
    highest = _mm512_max_ps(highest, x[n]);
  }
  const float new_max = std::max(*max, _mm512_reduce_max_ps(highest));
  const __m512 shift = _mm512_set1_ps(new_max);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t n = 0; n < registers; ++n) {
    __m512 e = exp2_vector(_mm512_sub_ps(x[n], shift));
    // A row without any key so far has kNoScore as its maximum: what it hides must still count as nothing.
    if (masked) e = _mm512_maskz_mov_ps(seen_keys(query, first_column + 16 * n, settings.window), e);
    sum = _mm512_add_ps(sum, e);
    store_bf16(p + 16 * n, e);
  }
  const __m512 factor = exp2_vector(_mm512_set1_ps(*max - new_max));
  _mm512_store_ps(total, _mm512_fmadd_ps(_mm512_load_ps(total), factor, sum));
  *max = new_max;
  return _mm512_cvtss_f32(factor);
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
  const bool masked = first + 16 * registers > query + 1 || first < first_key(query + kTileRows - 1, settings.window);
  const float scale_log2 = settings.scale * std::numbers::log2e_v<float>;
  float factor[kTileRows];
  for (int64_t m = 0; m < kTileRows; ++m) {
    factor[m] = softmax_row(s.scores + m * kKeys, registers, masked, query + m, first, settings, scale_log2, s.max + row + m,
                            s.total + (row + m) * 16, s.p + m * kKeys);
  }
  const TileOperand p{reinterpret_cast<const uint32_t*>(s.p), kKeys / 2, 1};
  add_all_columns(width, s.sums + row * width, width, factor, p, packed_v + first / 2 * width, registers * 8);
}

}  // namespace

int64_t forward_scratch_bytes(int64_t width) {
  return kForwardRows * (width * 6 + 4 + 64) + kTileRows * kKeys * 6 + 6 * 64;
}

NIBBLE_AVX512_BF16 void pack_keys_cpu(const HeadRows& k, const TileSettings& settings, uint32_t* packed) {
  pack_transposed(k.data, k.stride, settings.tokens, settings.width, packed);
}

NIBBLE_AVX512_BF16 void pack_values_cpu(const HeadRows& v, const TileSettings& settings, uint32_t* packed) {
  pack_row_pairs(v.data, v.stride, settings.tokens, round_up(settings.tokens, kTileColumns), settings.width, packed);
}

NIBBLE_AVX512_BF16 void attention_forward_cpu(const HeadRows& q, const uint32_t* packed_k, const uint32_t* packed_v,
                                              const TileSettings& settings, int64_t first, const HeadRows& out, float* lse,
                                              void* scratch) {
  const int64_t width = settings.width, rows = std::min(kForwardRows, settings.tokens - first);
  const ForwardScratch s = carve(scratch, width);
  copy_rows(q.data + first * q.stride, q.stride, rows, kForwardRows, width, s.q);
  std::fill(s.sums, s.sums + kForwardRows * width, 0.0f);
  std::fill(s.max, s.max + kForwardRows, kNoScore);
  std::fill(s.total, s.total + kForwardRows * 16, 0.0f);
  const int64_t begin = first_key(first, settings.window) / kTileColumns * kTileColumns;
  for (int64_t key = begin; key < first + rows; key += kKeys) {
    for (int64_t row = 0; row < rows; row += kTileRows) {
      const int64_t query = first + row;
      const bool seen = key < std::min(query + kTileRows, settings.tokens) && key + kKeys > first_key(query, settings.window);
      if (seen) forward_tile(s, packed_k, packed_v, settings, query, row, key);
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    const float total = _mm512_reduce_add_ps(_mm512_load_ps(s.total + row * 16));
    const __m512 inverse = _mm512_set1_ps(1.0f / total);
    uint16_t* y = out.data + (first + row) * out.stride;
    for (int64_t i = 0; i < width; i += 16) store_bf16(y + i, _mm512_mul_ps(inverse, _mm512_loadu_ps(s.sums + row * width + i)));
    lse[first + row] = s.max[row] * std::numbers::ln2_v<float> + std::log(total);
  }
}

#else

// avx512_bf16_supported is the caller's guard; nothing below is reached without it.
int64_t forward_scratch_bytes(int64_t) { return 0; }
void pack_keys_cpu(const HeadRows&, const TileSettings&, uint32_t*) { throw std::logic_error("no AVX512_BF16"); }
void pack_values_cpu(const HeadRows&, const TileSettings&, uint32_t*) { throw std::logic_error("no AVX512_BF16"); }
void attention_forward_cpu(const HeadRows&, const uint32_t*, const uint32_t*, const TileSettings&, int64_t, const HeadRows&,
                           float*, void*) {
  throw std::logic_error("no AVX512_BF16");
}

#endif

}  // namespace nibble::nn
