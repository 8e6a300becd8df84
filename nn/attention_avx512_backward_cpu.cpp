// Backward of one query head. Tiles are transposed: rows are keys, columns queries, so that the rounded probabilities and
// score gradients are at once the left operand of dv += P^T dout and dk += dS^T q; two rows of dS^T interleaved are the
// right operand of dq^T += k^T dS^T. Nothing is transposed but dq^T at the end.
#include "nn/attention_avx512_cpu.h"

#include <algorithm>
#include <stdexcept>

#include "core/round_up.h"
#include "nn/attention_avx512_rows.h"
#include "nn/attention_math.h"
#include "nn/avx512_tile.h"

namespace nibble::nn {

#if defined(__x86_64__)

namespace {

constexpr int64_t kBackwardKeys = 96;       // keys whose gradients are summed at a time
constexpr int64_t kQueries = kTileColumns;  // queries of a tile

int64_t carve(void* scratch, int64_t tokens, int64_t width, BackwardScratch& s) {
  return carve_backward(scratch, tokens, width, kBackwardKeys, kTileRows, /*transposes_keys=*/false, s);
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
  store_columns(4 - skip, s.scores + first, kQueries, k, s.queries.q_columns + tile + first, kQueries, pairs);
  store_columns(4 - skip, s.dp + first, kQueries, v, s.queries.dout_columns + tile + first, kQueries, pairs);
  const bool masked = query + first < key + kTileRows - 1 || (settings.window > 0 && query + kQueries > key + settings.window);
  const GradientTile gradients{s.scores, s.dp, s.p, s.ds, ds_pairs};
  for (int64_t m = 0; m < kTileRows; m += 2) {
    std::fill(ds_pairs + m / 2 * kQueries, ds_pairs + m / 2 * kQueries + first, 0u);
    gradient_rows(gradients, m, skip, 4, masked, key + m, query, s.queries, settings);
  }
  const TileOperand p{reinterpret_cast<const uint32_t*>(s.p) + first / 2, kQueries / 2, 1};
  const TileOperand ds{reinterpret_cast<const uint32_t*>(s.ds) + first / 2, kQueries / 2, 1};
  const int64_t from_pair = (query + first) / 2 * width, count = (kQueries - first) / 2;
  add_all_columns(width, s.dv + row * width, width, nullptr, p, s.queries.dout_pairs + from_pair, count);
  add_all_columns(width, s.dk + row * width, width, nullptr, ds, s.queries.q_pairs + from_pair, count);
  return true;
}

// dq^T [D, 64] += k^T dS^T over the first `pairs` pairs of keys of the block.
NIBBLE_AVX512_BF16 void add_dq(const BackwardScratch& s, int64_t width, int64_t query, int64_t pairs) {
  float* dq = s.queries.dq + query * width;
  int64_t d = 0;
  for (; d + kTileRows <= width; d += kTileRows) {
    add_product<kTileRows, 4>(dq + d * kQueries, kQueries, nullptr, {s.k_pairs + d, 1, width}, s.ds_pairs, kQueries, pairs);
  }
  // A multiple of 16 leaves 0, 2 or 4 rows.
  for (; d < width; d += 2) {
    add_product<2, 4>(dq + d * kQueries, kQueries, nullptr, {s.k_pairs + d, 1, width}, s.ds_pairs, kQueries, pairs);
  }
}

}  // namespace

int64_t backward_scratch_bytes_avx512(int64_t tokens, int64_t width) {
  BackwardScratch none;
  return carve(nullptr, tokens, width, none);
}

NIBBLE_AVX512_BF16 void attention_backward_avx512_cpu(const BackwardHead& head, const TileSettings& settings, void* scratch) {
  const int64_t tokens = settings.tokens, width = settings.width;
  BackwardScratch s;
  carve(scratch, tokens, width, s);
  pack_queries(head, settings, s.queries);
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
  store_dq(head, settings, s.queries.dq);
}

#else

int64_t backward_scratch_bytes_avx512(int64_t, int64_t) { return 0; }
void attention_backward_avx512_cpu(const BackwardHead&, const TileSettings&, void*) { throw std::logic_error("no AVX512_BF16"); }

#endif

}  // namespace nibble::nn
