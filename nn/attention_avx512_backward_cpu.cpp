// Backward of one query head. Tiles are transposed: rows are keys, columns queries, so that the rounded probabilities and
// score gradients are at once the left operand of dv += P^T dout and dk += dS^T q; two rows of dS^T interleaved are the
// right operand of dq^T += k^T dS^T. Nothing is transposed but dq^T at the end.
#include "nn/attention_avx512_cpu.h"

#include <algorithm>
#include <numbers>
#include <stdexcept>

#include "core/round_up.h"
#include "nn/avx512_tile.h"
#include "nn/attention_math.h"

namespace nibble::nn {

#if defined(__x86_64__)

namespace {

constexpr int64_t kQueries = kTileColumns;  // queries of a tile
constexpr float kNoQuery = 1e30f;           // log-sum-exp of a missing query: its probabilities are 2^-1e30 = 0

struct BackwardScratch {
  // The whole document, in tiles of 64 queries.
  uint32_t *q_columns, *dout_columns;  // [tiles][D/2][64], pairs along a row
  uint32_t *q_pairs, *dout_pairs;      // [tiles * 32][D], pairs down the rows
  float *lse, *delta;                  // [tiles * 64]; lse in units of log 2
  float* dq;                           // [tiles][D][64], unscaled
  // One block of keys.
  uint16_t *k, *v;                     // [kBackwardKeys, D]
  uint32_t* k_pairs;                   // [kBackwardKeys / 2][D]
  float *dk, *dv;                      // [kBackwardKeys, D]
  // One tile.
  float *scores, *dp;                  // [kTileRows, 64]
  uint16_t *p, *ds;                    // [kTileRows, 64]
  uint32_t* ds_pairs;                  // [kBackwardKeys / 2, 64]
};

// Bytes of the parts, in order; with `base`, their addresses too.
int64_t carve(unsigned char* base, int64_t tokens, int64_t width, BackwardScratch& s) {
  const int64_t padded = round_up(tokens, kQueries), keys = kBackwardKeys;
  int64_t bytes = 0;
  const auto take = [&](auto*& part, int64_t count) {
    using Part = std::remove_reference_t<decltype(*part)>;
    part = base == nullptr ? nullptr : reinterpret_cast<Part*>(base + bytes);
    bytes += round_up(count * static_cast<int64_t>(sizeof(Part)), 64);
  };
  for (uint32_t** part : {&s.q_columns, &s.dout_columns, &s.q_pairs, &s.dout_pairs}) take(*part, padded * width / 2);
  take(s.lse, padded);
  take(s.delta, padded);
  take(s.dq, padded * width);
  take(s.k, keys * width);
  take(s.v, keys * width);
  take(s.k_pairs, keys / 2 * width);
  take(s.dk, keys * width);
  take(s.dv, keys * width);
  take(s.scores, kTileRows * kQueries);
  take(s.dp, kTileRows * kQueries);
  take(s.p, kTileRows * kQueries);
  take(s.ds, kTileRows * kQueries);
  take(s.ds_pairs, keys / 2 * kQueries);
  return bytes;
}

// delta_i = dout_i . out_i, which is sum_j p_ij dp_ij.
NIBBLE_AVX512_BF16 void row_sums(const BackwardHead& head, const TileSettings& settings, const BackwardScratch& s) {
  const int64_t padded = round_up(settings.tokens, kQueries);
  for (int64_t i = 0; i < settings.tokens; ++i) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < settings.width; c += 16) {
      const auto load = reinterpret_cast<const __m256i*>(head.dout.data + i * head.dout.stride + c);
      const auto load_out = reinterpret_cast<const __m256i*>(head.out.data + i * head.out.stride + c);
      const __m512 d = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(load)), 16));
      const __m512 o = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(load_out)), 16));
      sum = _mm512_fmadd_ps(d, o, sum);
    }
    s.delta[i] = _mm512_reduce_add_ps(sum);
    s.lse[i] = head.lse[i] * std::numbers::log2e_v<float>;
  }
  std::fill(s.delta + settings.tokens, s.delta + padded, 0.0f);
  std::fill(s.lse + settings.tokens, s.lse + padded, kNoQuery);
}

// Lanes of the 16 queries from `first` that see key j. Missing queries are no matter here: they see nothing.
inline __mmask16 seeing_queries(int64_t j, int64_t first, int64_t window) {
  const int64_t begin = std::clamp<int64_t>(j - first, 0, 16);
  const int64_t end = window > 0 ? std::clamp<int64_t>(j + window - first, 0, 16) : 16;
  return static_cast<__mmask16>(((1u << end) - 1u) & ~((1u << begin) - 1u));
}

// p = exp2(scores * scale - lse) and ds = p (dp - delta) for two rows of keys, from the register `skip` on.
NIBBLE_TILE void gradient_rows(const BackwardScratch& s, int64_t m, int64_t skip, bool masked, int64_t key, int64_t query,
                               const TileSettings& settings, uint32_t* ds_pairs) {
  const __m512 scale = _mm512_set1_ps(settings.scale * std::numbers::log2e_v<float>);
  for (int64_t n = 0; n < skip; ++n) _mm512_store_si512(ds_pairs + 16 * n, _mm512_setzero_si512());
  for (int64_t n = skip; n < 4; ++n) {
    const __m512 lse = _mm512_load_ps(s.lse + query + 16 * n), delta = _mm512_load_ps(s.delta + query + 16 * n);
    __m512i half[2];
#pragma GCC unroll 2
    for (int64_t r = 0; r < 2; ++r) {
      const int64_t at = (m + r) * kQueries + 16 * n;
      __m512 p = exp2_vector(_mm512_fmsub_ps(scale, _mm512_load_ps(s.scores + at), lse));
      if (masked) p = _mm512_maskz_mov_ps(seeing_queries(key + r, query + 16 * n, settings.window), p);
      const __m512 ds = _mm512_mul_ps(p, _mm512_sub_ps(_mm512_load_ps(s.dp + at), delta));
      const auto rounded = (__m256i)_mm512_cvtneps_pbh(ds);
      store_bf16(s.p + at, p);
      _mm256_store_si256(reinterpret_cast<__m256i*>(s.ds + at), rounded);
      half[r] = _mm512_cvtepu16_epi32(rounded);
    }
    _mm512_store_si512(ds_pairs + 16 * n, _mm512_or_si512(half[0], _mm512_slli_epi32(half[1], 16)));
  }
}

// Keys [key, key + kTileRows), rows `row` of their block, against the 64 queries from `query`. -> whether any pair sees
// each other; ds_pairs is written either way.
NIBBLE_AVX512_BF16 bool backward_tile(const BackwardScratch& s, const TileSettings& settings, int64_t row, int64_t key,
                                      int64_t query) {
  const int64_t width = settings.width, pairs = width / 2;
  uint32_t* ds_pairs = s.ds_pairs + row / 2 * kQueries;
  const int64_t skip = std::clamp<int64_t>((key - query) / 16, 0, 4);
  if (skip == 4 || query >= end_query(key + kTileRows - 1, settings.window, settings.tokens)) {
    std::fill(ds_pairs, ds_pairs + kTileRows / 2 * kQueries, 0u);
    return false;
  }
  const int64_t first = 16 * skip, tile = query * pairs;
  const TileOperand k{reinterpret_cast<const uint32_t*>(s.k) + row * pairs, pairs, 1};
  const TileOperand v{reinterpret_cast<const uint32_t*>(s.v) + row * pairs, pairs, 1};
  store_columns(4 - skip, s.scores + first, kQueries, k, s.q_columns + tile + first, kQueries, pairs);
  store_columns(4 - skip, s.dp + first, kQueries, v, s.dout_columns + tile + first, kQueries, pairs);
  const bool masked = query + first < key + kTileRows - 1 || (settings.window > 0 && query + kQueries > key + settings.window);
  for (int64_t m = 0; m < kTileRows; m += 2) {
    gradient_rows(s, m, skip, masked, key + m, query, settings, ds_pairs + m / 2 * kQueries);
  }
  const TileOperand p{reinterpret_cast<const uint32_t*>(s.p) + first / 2, kQueries / 2, 1};
  const TileOperand ds{reinterpret_cast<const uint32_t*>(s.ds) + first / 2, kQueries / 2, 1};
  const int64_t from_pair = (query + first) / 2 * width, count = (kQueries - first) / 2;
  add_all_columns(width, s.dv + row * width, width, nullptr, p, s.dout_pairs + from_pair, count);
  add_all_columns(width, s.dk + row * width, width, nullptr, ds, s.q_pairs + from_pair, count);
  return true;
}

// dq^T [D, 64] += k^T dS^T over the first `pairs` pairs of keys of the block.
NIBBLE_AVX512_BF16 void add_dq(const BackwardScratch& s, int64_t width, int64_t query, int64_t pairs) {
  float* dq = s.dq + query * width;
  int64_t d = 0;
  for (; d + kTileRows <= width; d += kTileRows) {
    add_product<kTileRows, 4>(dq + d * kQueries, kQueries, nullptr, {s.k_pairs + d, 1, width}, s.ds_pairs, kQueries, pairs);
  }
  // A multiple of 16 leaves 0, 2 or 4 rows.
  for (; d < width; d += 2) {
    add_product<2, 4>(dq + d * kQueries, kQueries, nullptr, {s.k_pairs + d, 1, width}, s.ds_pairs, kQueries, pairs);
  }
}

NIBBLE_AVX512_BF16 void add_rows(float* sum, const float* part, float factor, int64_t count, bool accumulate) {
  const __m512 f = _mm512_set1_ps(factor);
  for (int64_t i = 0; i < count; i += 16) {
    __m512 value = _mm512_mul_ps(f, _mm512_loadu_ps(part + i));
    if (accumulate) value = _mm512_add_ps(_mm512_loadu_ps(sum + i), value);
    _mm512_storeu_ps(sum + i, value);
  }
}

NIBBLE_AVX512_BF16 void store_dq(const BackwardHead& head, const TileSettings& settings, const float* dq_tiles) {
  const __m512 scale = _mm512_set1_ps(settings.scale);
  const int64_t width = settings.width;
  for (int64_t i = 0; i < settings.tokens; i += 16) {
    const float* tile = dq_tiles + i / kQueries * kQueries * width + i % kQueries;
    const int64_t rows = std::min<int64_t>(16, settings.tokens - i);
    for (int64_t d = 0; d < width; d += 16) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int64_t c = 0; c < 16; ++c) r[c] = _mm512_loadu_si512(tile + (d + c) * kQueries);
      transpose_16x16(r);
      for (int64_t c = 0; c < rows; ++c) {
        store_bf16(head.dq.data + (i + c) * head.dq.stride + d, _mm512_mul_ps(scale, _mm512_castsi512_ps(r[c])));
      }
    }
  }
}

}  // namespace

int64_t backward_scratch_bytes(int64_t tokens, int64_t width) {
  BackwardScratch none;
  return carve(nullptr, tokens, width, none);
}

NIBBLE_AVX512_BF16 void attention_backward_cpu(const BackwardHead& head, const TileSettings& settings, void* scratch) {
  const int64_t tokens = settings.tokens, width = settings.width, padded = round_up(tokens, kQueries);
  BackwardScratch s;
  carve(static_cast<unsigned char*>(scratch), tokens, width, s);
  pack_transposed(head.q.data, head.q.stride, tokens, width, s.q_columns);
  pack_transposed(head.dout.data, head.dout.stride, tokens, width, s.dout_columns);
  pack_row_pairs(head.q.data, head.q.stride, tokens, padded, width, s.q_pairs);
  pack_row_pairs(head.dout.data, head.dout.stride, tokens, padded, width, s.dout_pairs);
  row_sums(head, settings, s);
  std::fill(s.dq, s.dq + padded * width, 0.0f);
  for (int64_t key = 0; key < tokens; key += kBackwardKeys) {
    const int64_t keys = std::min(kBackwardKeys, tokens - key), rows = round_up(keys, kTileRows);
    copy_rows(head.k.data + key * head.k.stride, head.k.stride, keys, rows, width, s.k);
    copy_rows(head.v.data + key * head.v.stride, head.v.stride, keys, rows, width, s.v);
    pack_row_pairs(s.k, width, rows, rows, width, s.k_pairs);
    std::fill(s.dk, s.dk + rows * width, 0.0f);
    std::fill(s.dv, s.dv + rows * width, 0.0f);
    const int64_t end = end_query(key + keys - 1, settings.window, tokens);
    for (int64_t query = key / kQueries * kQueries; query < end; query += kQueries) {
      int64_t last = 0;  // one past the last row that these queries see
      for (int64_t row = 0; row < rows; row += kTileRows) {
        if (backward_tile(s, settings, row, key + row, query)) last = row + kTileRows;
      }
      add_dq(s, width, query, last / 2);
    }
    add_rows(head.dk + key * width, s.dk, settings.scale, keys * width, head.accumulate);
    add_rows(head.dv + key * width, s.dv, 1.0f, keys * width, head.accumulate);
  }
  store_dq(head, settings, s.dq);
}

#else

int64_t backward_scratch_bytes(int64_t, int64_t) { return 0; }
void attention_backward_cpu(const BackwardHead&, const TileSettings&, void*) { throw std::logic_error("no AVX512_BF16"); }

#endif

}  // namespace nibble::nn
