// Backward of one query head on AMX, transposed as on AVX512 (attention_avx512_backward_cpu.cpp): rows are keys, columns queries,
// so that nothing is transposed but a block's keys, for dq^T += k^T dS^T, and dq^T at the end.
#include "nn/attention_amx_cpu.h"

#include <algorithm>
#include <stdexcept>

#include "core/round_up.h"
#include "nn/attention_amx_block.h"
#include "nn/attention_avx512_rows.h"
#include "nn/attention_math.h"

namespace nibble::nn {

#if defined(__x86_64__)

namespace {

constexpr int64_t kBackwardKeys = 128;      // keys whose gradients are summed at a time
constexpr int64_t kQueries = kTileColumns;  // queries taken at a time

int64_t carve(void* scratch, int64_t tokens, int64_t width, BackwardScratch& s) {
  return carve_backward(scratch, tokens, width, kBackwardKeys, kBlock, /*transposes_keys=*/true, s);
}

// The keys [key, key + keys) of the head, with zeros up to `rows`.
NIBBLE_AVX512_BF16 void take_keys(const BackwardScratch& s, const BackwardHead& head, int64_t width, int64_t key, int64_t keys,
                                  int64_t rows) {
  copy_rows(head.k.data + key * head.k.stride, head.k.stride, keys, rows, width, s.k);
  copy_rows(head.v.data + key * head.v.stride, head.v.stride, keys, rows, width, s.v);
  pack_row_pairs(s.k, width, rows, rows, width, s.k_pairs);
  for (int64_t pair = 0; pair < rows / 2; pair += 16) {
    for (int64_t d = 0; d < width; d += 16) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; ++i) r[i] = _mm512_load_si512(s.k_pairs + (pair + i) * width + d);
      transpose_16x16(r);
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; ++i) _mm512_store_si512(s.k_columns + (d + i) * (kBackwardKeys / 2) + pair, r[i]);
    }
  }
  std::fill(s.dk, s.dk + rows * width, 0.0f);
  std::fill(s.dv, s.dv + rows * width, 0.0f);
}

// The 32 keys from `key`, rows `row` of their block, against the 64 queries from `query`.
NIBBLE_AMX void backward_strip(const BackwardScratch& s, const TileSettings& settings, int64_t row, int64_t key, int64_t query) {
  // Of the queries, columns [begin, end) see some of the keys.
  const int64_t begin = std::max<int64_t>(0, key - query);
  const int64_t seeing = std::max<int64_t>(0, end_query(key + kBlock - 1, settings.window, settings.tokens) - query);
  const int64_t end = std::min(kQueries, round_up(seeing, kBlock));
  if (begin >= end) return;
  const int64_t width = settings.width, steps = width / kBlock;
  const uint32_t *q = s.queries.q_columns + query * width / 2, *dout = s.queries.dout_columns + query * width / 2;
  for (int64_t c = begin; c < end; c += kBlock) {
    block_product<false>(s.scores + c, kQueries, {s.k + row * width, 2 * width}, {q + c, 4 * kTileColumns}, steps);
    block_product<false>(s.dp + c, kQueries, {s.v + row * width, 2 * width}, {dout + c, 4 * kTileColumns}, steps);
  }
  const bool masked = query + begin < key + kBlock - 1 || (settings.window > 0 && query + end > key + settings.window);
  const GradientTile tile{s.scores, s.dp, s.p, s.ds, s.ds_pairs + row / 2 * kQueries};
  for (int64_t m = 0; m < kBlock; m += 2) {
    gradient_rows(tile, m, begin / 16, end / 16, masked, key + m, query, s.queries, settings);
  }
  const int64_t from_pair = (query + begin) / 2 * width, count = (end - begin) / kBlock;
  const AmxOperand p{s.p + begin, 2 * kQueries}, ds{s.ds + begin, 2 * kQueries};
  for (int64_t d = 0; d < width; d += kBlock) {
    block_product<true>(s.dv + row * width + d, width, p, {s.queries.dout_pairs + from_pair + d, 4 * width}, count);
    block_product<true>(s.dk + row * width + d, width, ds, {s.queries.q_pairs + from_pair + d, 4 * width}, count);
  }
}

// dq^T [D, 32] += k^T dS^T for the queries [query + column, + 32) and those keys of the block at `key` that they see.
NIBBLE_AMX void add_dq(const BackwardScratch& s, const TileSettings& settings, int64_t key, int64_t rows, int64_t query,
                       int64_t column) {
  const int64_t begin = std::max<int64_t>(0, first_key(query + column, settings.window) - key) / kBlock * kBlock;
  const int64_t end = std::min(rows, query + column + kBlock - key);
  if (begin >= end || query + column >= settings.tokens) return;
  float* dq = s.queries.dq + query * settings.width + column;
  for (int64_t d = 0; d < settings.width; d += kBlock) {
    block_product<true>(dq + d * kTileColumns, kTileColumns, {s.k_columns + (d * kBackwardKeys + begin) / 2, 2 * kBackwardKeys},
                        {s.ds_pairs + begin / 2 * kQueries + column, 4 * kQueries}, (end - begin) / kBlock);
  }
}

}  // namespace

int64_t backward_scratch_bytes_amx(int64_t tokens, int64_t width) {
  BackwardScratch none;
  return carve(nullptr, tokens, width, none);
}

NIBBLE_AMX void attention_backward_amx_cpu(const BackwardHead& head, const TileSettings& settings, void* scratch) {
  const int64_t tokens = settings.tokens, width = settings.width;
  BackwardScratch s;
  carve(scratch, tokens, width, s);
  pack_queries(head, settings, s.queries);
  const AmxTiles tiles;
  for (int64_t key = 0; key < tokens; key += kBackwardKeys) {
    const int64_t keys = std::min(kBackwardKeys, tokens - key), rows = round_up(keys, kBlock);
    take_keys(s, head, width, key, keys, rows);
    const int64_t end = end_query(key + keys - 1, settings.window, tokens);
    for (int64_t query = key; query < end; query += kQueries) {
      for (int64_t row = 0; row < rows; row += kBlock) backward_strip(s, settings, row, key + row, query);
      for (int64_t column = 0; column < kQueries; column += kBlock) add_dq(s, settings, key, rows, query, column);
    }
    add_rows(head.dk + key * width, s.dk, settings.scale, keys * width, head.accumulate);
    add_rows(head.dv + key * width, s.dv, 1.0f, keys * width, head.accumulate);
  }
  store_dq(head, settings, s.queries.dq);
}

#else

int64_t backward_scratch_bytes_amx(int64_t, int64_t) { return 0; }
void attention_backward_amx_cpu(const BackwardHead&, const TileSettings&, void*) { throw std::logic_error("no AMX"); }

#endif

}  // namespace nibble::nn
