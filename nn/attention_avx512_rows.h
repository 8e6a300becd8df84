// What the tiled attention kernels of AVX512_BF16 and of AMX share: everything between their products. Rows of scores become
// probabilities and rows of gradients; a document is packed; gradients are handed back. Included only by those kernels.
#pragma once

#if defined(__x86_64__)

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/round_up.h"
#include "nn/attention_avx512_cpu.h"
#include "nn/attention_math.h"
#include "nn/avx512_tile.h"

namespace nibble::nn {

// Stands for -inf where a row has seen no key yet: differences of it stay finite.
inline constexpr float kNoScore = -1e30f;
inline constexpr float kNoQuery = 1e30f;  // log-sum-exp of a missing query: its probabilities are 2^-1e30 = 0

// Hands out 64-byte aligned parts of a scratch one after the other; without a base it only counts their bytes.
class Carver {
 public:
  explicit Carver(void* base) : base_(static_cast<unsigned char*>(base)) {}
  template <class Part>
  void take(Part*& part, int64_t count) {
    part = base_ == nullptr ? nullptr : reinterpret_cast<Part*>(base_ + bytes_);
    bytes_ += round_up(count * static_cast<int64_t>(sizeof(Part)), 64);
  }
  int64_t bytes() const { return bytes_; }

 private:
  unsigned char* base_;
  int64_t bytes_ = 0;
};

// Lanes [begin, end) of 16, limits anywhere.
inline __mmask16 lanes_between(int64_t begin, int64_t end) {
  const auto below = [](int64_t limit) { return (1u << std::clamp<int64_t>(limit, 0, 16)) - 1u; };
  return static_cast<__mmask16>(below(end) & ~below(begin));
}

// Forward's running state of a row of queries.
struct SoftmaxRows {
  float* sums;   // [rows, D], unnormalized output
  float* max;    // [rows], in units of log 2
  float* total;  // [rows, 16], sums of probabilities by lane
};

// Memory of a forward task.
struct ForwardScratch {
  uint16_t* q;       // [rows, D]
  SoftmaxRows rows;
  float* scores;     // of a tile
  uint16_t* p;
};

// For `rows` queries of width D, a tile of so many scores and probabilities. -> bytes
inline int64_t carve_forward(void* scratch, int64_t rows, int64_t width, int64_t scores, int64_t probabilities, ForwardScratch& s) {
  Carver carver(scratch);
  carver.take(s.q, rows * width);
  carver.take(s.rows.sums, rows * width);
  carver.take(s.rows.max, rows);
  carver.take(s.rows.total, rows * 16);
  carver.take(s.scores, scores);
  carver.take(s.p, probabilities);
  return carver.bytes();
}

inline void clear_softmax_rows(const SoftmaxRows& s, int64_t rows, int64_t width) {
  std::fill(s.sums, s.sums + rows * width, 0.0f);
  std::fill(s.max, s.max + rows, kNoScore);
  std::fill(s.total, s.total + rows * 16, 0.0f);
}

// What rows of queries see of a tile of scores: row m belongs to query + m, column c to key first + c.
struct ScoreTile {
  const float* scores;  // [rows, registers * 16], rows score_row apart
  uint16_t* p;          // as many probabilities, rows p_row apart
  int64_t score_row, p_row, registers;
  int64_t query, first, window;
  // One past the last column that row m sees, and the first one; both may lie outside of the tile.
  int64_t end(int64_t m) const { return query + m + 1 - first; }
  int64_t begin(int64_t m) const { return first_key(query + m, window) - first; }
};

// The registers of a row that hold anything seen, and whether some of their lanes are not.
struct SeenRegisters {
  int64_t from, to;
  bool masked;
};

inline SeenRegisters seen_registers(const ScoreTile& t, int64_t m) {
  const int64_t begin = t.begin(m), end = t.end(m), from = std::clamp<int64_t>(begin / 16, 0, t.registers);
  return {from, std::clamp<int64_t>((end + 15) / 16, from, t.registers), begin > 0 || end < 16 * t.registers};
}

NIBBLE_TILE float highest_score(const ScoreTile& t, int64_t m) {
  const SeenRegisters seen = seen_registers(t, m);
  const float* scores = t.scores + m * t.score_row;
  // Four maxima, since one would wait for itself.
  __m512 highest[4];
#pragma GCC unroll 4
  for (int u = 0; u < 4; ++u) highest[u] = _mm512_set1_ps(kNoScore);
  int64_t n = seen.from;
  if (!seen.masked) {
    for (; n + 4 <= seen.to; n += 4) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) highest[u] = _mm512_max_ps(highest[u], _mm512_load_ps(scores + 16 * (n + u)));
    }
  }
  for (; n < seen.to; ++n) {
    const __mmask16 lanes = lanes_between(t.begin(m) - 16 * n, t.end(m) - 16 * n);
    highest[0] = _mm512_mask_max_ps(highest[0], lanes, highest[0], _mm512_load_ps(scores + 16 * n));
  }
  return _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(highest[0], highest[1]), _mm512_max_ps(highest[2], highest[3])));
}

// N registers of a row of probabilities from register n on. -> sum + theirs
template <int N>
NIBBLE_TILE __m512 store_probabilities(const ScoreTile& t, int64_t m, int64_t n, bool masked, __m512 scale, __m512 shift, __m512 sum) {
  __m512 x[N];
#pragma GCC unroll 8
  for (int u = 0; u < N; ++u) x[u] = _mm512_fmsub_ps(scale, _mm512_load_ps(t.scores + m * t.score_row + 16 * (n + u)), shift);
  exp2_vectors(x);
#pragma GCC unroll 8
  for (int u = 0; u < N; ++u) {
    // A row without any key so far has no maximum either: what it hides must still count as nothing.
    if (masked) x[u] = _mm512_maskz_mov_ps(lanes_between(t.begin(m) - 16 * (n + u), t.end(m) - 16 * (n + u)), x[u]);
    store_bf16(t.p + m * t.p_row + 16 * (n + u), x[u]);
  }
#pragma GCC unroll 8
  for (int u = 0; u < N; ++u) sum = _mm512_add_ps(sum, x[u]);
  return sum;
}

// Turns `rows` rows of scores, at most 32, into bf16 probabilities relative to their new maxima; `s` begins with the first of
// them. scale_log2 > 0. -> factor [32] of what was summed before
NIBBLE_AVX512_BF16 inline void softmax_rows(const ScoreTile& t, const SoftmaxRows& s, int64_t rows, float scale_log2, float* factor) {
  alignas(64) float highest[32];
  for (int64_t m = 0; m < rows; ++m) highest[m] = std::max(s.max[m], scale_log2 * highest_score(t, m));
  for (int64_t m = 0; m < rows; m += 16) {
    const __mmask16 lanes = lanes_between(0, rows - m);
    __m512 change[1] = {_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, s.max + m), _mm512_maskz_load_ps(lanes, highest + m))};
    const __mmask16 changed = _mm512_cmp_ps_mask(change[0], _mm512_setzero_ps(), _CMP_NEQ_OQ);
    exp2_vectors(change);  // of 0 it is nearly 1
    _mm512_storeu_ps(factor + m, _mm512_mask_mov_ps(_mm512_set1_ps(1.0f), changed, change[0]));
  }
  const __m512 scale = _mm512_set1_ps(scale_log2);
  for (int64_t m = 0; m < rows; ++m) {
    const SeenRegisters seen = seen_registers(t, m);
    const __m512 shift = _mm512_set1_ps(highest[m]);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t n = 0; n < seen.from; ++n) store_bf16(t.p + m * t.p_row + 16 * n, sum);
    for (int64_t n = seen.to; n < t.registers; ++n) store_bf16(t.p + m * t.p_row + 16 * n, sum);
    int64_t n = seen.from;
    if (!seen.masked) {
      for (; n + 4 <= seen.to; n += 4) sum = store_probabilities<4>(t, m, n, false, scale, shift, sum);
    }
    for (; n + 2 <= seen.to; n += 2) sum = store_probabilities<2>(t, m, n, seen.masked, scale, shift, sum);
    for (; n < seen.to; ++n) sum = store_probabilities<1>(t, m, n, seen.masked, scale, shift, sum);
    float* total = s.total + m * 16;
    _mm512_store_ps(total, _mm512_fmadd_ps(_mm512_load_ps(total), _mm512_set1_ps(factor[m]), sum));
    s.max[m] = highest[m];
  }
}

// Normalizes rows that have seen all their keys, the queries from `first` on. -> out, lse
NIBBLE_AVX512_BF16 inline void store_softmax_rows(const SoftmaxRows& s, int64_t rows, int64_t width, int64_t first,
                                                  const HeadRows& out, float* lse) {
  for (int64_t row = 0; row < rows; ++row) {
    const float total = _mm512_reduce_add_ps(_mm512_load_ps(s.total + row * 16));
    const __m512 inverse = _mm512_set1_ps(1.0f / total);
    uint16_t* y = out.data + (first + row) * out.stride;
    for (int64_t i = 0; i < width; i += 16) store_bf16(y + i, _mm512_mul_ps(inverse, _mm512_loadu_ps(s.sums + row * width + i)));
    lse[first + row] = s.max[row] * std::numbers::ln2_v<float> + std::log(total);
  }
}

// Backward's whole document, in tiles of 64 queries.
struct PackedQueries {
  uint32_t *q_columns, *dout_columns;  // [tiles][D/2][64], pairs along a row
  uint32_t *q_pairs, *dout_pairs;      // [tiles * 32][D], pairs down the rows
  float *lse, *delta;                  // [tiles * 64]; lse in units of log 2
  float* dq;                           // [tiles][D][64], unscaled
};

// Memory of a backward task, which takes keys in blocks of K and those in strips.
struct BackwardScratch {
  PackedQueries queries;
  // A block.
  uint16_t *k, *v;      // [K, D]
  uint32_t* k_pairs;    // [K/2][D]
  uint32_t* k_columns;  // [D][K/2], k^T; on AMX only
  float *dk, *dv;       // [K, D]
  uint32_t* ds_pairs;   // [K/2, 64]
  // A strip against 64 queries.
  float *scores, *dp;  // [strip, 64]
  uint16_t *p, *ds;    // [strip, 64]
};

// -> bytes
inline int64_t carve_backward(void* scratch, int64_t tokens, int64_t width, int64_t keys, int64_t strip, bool transposes_keys,
                              BackwardScratch& s) {
  Carver carver(scratch);
  const int64_t padded = round_up(tokens, kTileColumns);
  PackedQueries& queries = s.queries;
  for (uint32_t** part : {&queries.q_columns, &queries.dout_columns, &queries.q_pairs, &queries.dout_pairs}) carver.take(*part, padded * width / 2);
  for (float** part : {&queries.lse, &queries.delta}) carver.take(*part, padded);
  carver.take(queries.dq, padded * width);
  for (uint16_t** part : {&s.k, &s.v}) carver.take(*part, keys * width);
  carver.take(s.k_pairs, keys / 2 * width);
  carver.take(s.k_columns, transposes_keys ? keys / 2 * width : 0);
  for (float** part : {&s.dk, &s.dv}) carver.take(*part, keys * width);
  carver.take(s.ds_pairs, keys / 2 * kTileColumns);
  for (float** part : {&s.scores, &s.dp}) carver.take(*part, strip * kTileColumns);
  for (uint16_t** part : {&s.p, &s.ds}) carver.take(*part, strip * kTileColumns);
  return carver.bytes();
}

// delta_i = dout_i . out_i, which is sum_j p_ij dp_ij.
NIBBLE_AVX512_BF16 inline void row_sums(const BackwardHead& head, const TileSettings& settings, const PackedQueries& s) {
  const int64_t padded = round_up(settings.tokens, kTileColumns);
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

// Fills all of `s`; dq is zeros.
NIBBLE_AVX512_BF16 inline void pack_queries(const BackwardHead& head, const TileSettings& settings, const PackedQueries& s) {
  const int64_t tokens = settings.tokens, width = settings.width, padded = round_up(tokens, kTileColumns);
  pack_transposed(head.q.data, head.q.stride, tokens, width, s.q_columns);
  pack_transposed(head.dout.data, head.dout.stride, tokens, width, s.dout_columns);
  pack_row_pairs(head.q.data, head.q.stride, tokens, padded, width, s.q_pairs);
  pack_row_pairs(head.dout.data, head.dout.stride, tokens, padded, width, s.dout_pairs);
  row_sums(head, settings, s);
  std::fill(s.dq, s.dq + padded * width, 0.0f);
}

// Scores and score gradients of some keys (rows) and 64 queries (columns), fp32 in, bf16 out.
struct GradientTile {
  const float *scores, *dp;  // [rows, 64]
  uint16_t *p, *ds;          // [rows, 64]
  uint32_t* ds_pairs;        // [rows / 2, 64]
};

// p = exp2(scores * scale - lse) and ds = p (dp - delta) for two rows of keys, m and m + 1, the first of them `key`, and N
// registers of the queries from `query`, beginning with register n.
template <int N>
NIBBLE_TILE void gradient_registers(const GradientTile& t, int64_t m, int64_t n, bool masked, int64_t key, int64_t query,
                                    const float* lse, const float* delta, const TileSettings& settings, __m512 scale) {
  __m512 x[2 * N];
  const auto at = [&](int64_t i) { return (m + i / N) * kTileColumns + 16 * (n + i % N); };
#pragma GCC unroll 8
  for (int64_t i = 0; i < 2 * N; ++i) {
    x[i] = _mm512_fmsub_ps(scale, _mm512_load_ps(t.scores + at(i)), _mm512_load_ps(lse + query + 16 * (n + i % N)));
  }
  exp2_vectors(x);
  __m256i rounded[2 * N];
#pragma GCC unroll 8
  for (int64_t i = 0; i < 2 * N; ++i) {
    if (masked) {
      const int64_t self = key + i / N - query - 16 * (n + i % N);  // the lane of the key's own query, the first that sees it
      x[i] = _mm512_maskz_mov_ps(lanes_between(self, settings.window > 0 ? self + settings.window : 16), x[i]);
    }
    store_bf16(t.p + at(i), x[i]);
    const __m512 change = _mm512_sub_ps(_mm512_load_ps(t.dp + at(i)), _mm512_load_ps(delta + query + 16 * (n + i % N)));
    rounded[i] = (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(x[i], change));
    _mm256_store_si256(reinterpret_cast<__m256i*>(t.ds + at(i)), rounded[i]);
  }
#pragma GCC unroll 4
  for (int64_t i = 0; i < N; ++i) {
    const __m512i low = _mm512_cvtepu16_epi32(rounded[i]), high = _mm512_cvtepu16_epi32(rounded[N + i]);
    _mm512_store_si512(t.ds_pairs + m / 2 * kTileColumns + 16 * (n + i), _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
}

// All registers [from, to) of such rows. Missing queries are no matter for masks: they see nothing.
NIBBLE_TILE void gradient_rows(const GradientTile& t, int64_t m, int64_t from, int64_t to, bool masked, int64_t key, int64_t query,
                               const PackedQueries& queries, const TileSettings& settings) {
  const __m512 scale = _mm512_set1_ps(settings.scale * std::numbers::log2e_v<float>);
  int64_t n = from;
  for (; n + 2 <= to; n += 2) gradient_registers<2>(t, m, n, masked, key, query, queries.lse, queries.delta, settings, scale);
  for (; n < to; ++n) gradient_registers<1>(t, m, n, masked, key, query, queries.lse, queries.delta, settings, scale);
}

NIBBLE_AVX512_BF16 inline void add_rows(float* sum, const float* part, float factor, int64_t count, bool accumulate) {
  const __m512 f = _mm512_set1_ps(factor);
  for (int64_t i = 0; i < count; i += 16) {
    __m512 value = _mm512_mul_ps(f, _mm512_loadu_ps(part + i));
    if (accumulate) value = _mm512_add_ps(_mm512_loadu_ps(sum + i), value);
    _mm512_storeu_ps(sum + i, value);
  }
}

NIBBLE_AVX512_BF16 inline void store_dq(const BackwardHead& head, const TileSettings& settings, const float* dq_tiles) {
  const __m512 scale = _mm512_set1_ps(settings.scale);
  const int64_t width = settings.width;
  for (int64_t i = 0; i < settings.tokens; i += 16) {
    const float* tile = dq_tiles + i / kTileColumns * kTileColumns * width + i % kTileColumns;
    const int64_t rows = std::min<int64_t>(16, settings.tokens - i);
    for (int64_t d = 0; d < width; d += 16) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int64_t c = 0; c < 16; ++c) r[c] = _mm512_loadu_si512(tile + (d + c) * kTileColumns);
      transpose_16x16(r);
      for (int64_t c = 0; c < rows; ++c) {
        store_bf16(head.dq.data + (i + c) * head.dq.stride + d, _mm512_mul_ps(scale, _mm512_castsi512_ps(r[c])));
      }
    }
  }
}

}  // namespace nibble::nn

#endif  // __x86_64__
