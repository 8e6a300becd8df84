// Forward: strips of 32 queries against up to 256 keys at a time with a running maximum and sum, as on AVX512
// (attention_avx512_forward_cpu.cpp), whose packed keys and values these are.
#include "nn/attention_amx_cpu.h"

#include <algorithm>
#include <numbers>
#include <stdexcept>

#include "core/round_up.h"
#include "nn/attention_amx_block.h"
#include "nn/attention_avx512_rows.h"
#include "nn/attention_math.h"

namespace nibble::nn {

#if defined(__x86_64__)

namespace {

constexpr int64_t kKeys = 256;  // keys between two updates of the running maximum
// Elements from row to row, no powers of two: the rows of a tile would meet in few sets of the cache.
constexpr int64_t kScoreRow = kKeys + 16, kProbabilityRow = kKeys + 32;

int64_t carve(void* scratch, int64_t width, ForwardScratch& s) {
  return carve_forward(scratch, kAmxForwardRows, width, kBlock * kScoreRow, kBlock * kProbabilityRow, s);
}

// The strip's queries from `query` on, rows [row, row + kBlock) of the task, against the keys [begin, end), multiples of kBlock.
NIBBLE_AMX void forward_strip(const ForwardScratch& s, const uint32_t* packed_k, const uint32_t* packed_v,
                              const TileSettings& settings, int64_t query, int64_t row, int64_t begin, int64_t end) {
  const int64_t width = settings.width, columns = end - begin;
  for (int64_t key = begin; key < end; key += kBlock) {
    const uint32_t* k = packed_k + (key / kTileColumns * width / 2 * kTileColumns + key % kTileColumns);
    block_product<false>(s.scores + (key - begin), kScoreRow, {s.q + row * width, 2 * width}, {k, 4 * kTileColumns}, width / kBlock);
  }
  // Rows beyond the document keep whatever they hold: no other row sees it.
  const int64_t rows = std::min(kBlock, settings.tokens - query);
  const SoftmaxRows state{s.rows.sums + row * width, s.rows.max + row, s.rows.total + row * 16};
  alignas(64) float factor[kBlock];
  softmax_rows({s.scores, s.p, kScoreRow, kProbabilityRow, columns / 16, query, begin, settings.window}, state, rows,
               settings.scale * std::numbers::log2e_v<float>, factor);
  for (int64_t m = 0; m < rows; ++m) {
    if (factor[m] == 1.0f) continue;
    const __m512 f = _mm512_set1_ps(factor[m]);
    for (float* sums = state.sums + m * width; sums < state.sums + (m + 1) * width; sums += 16) {
      _mm512_store_ps(sums, _mm512_mul_ps(f, _mm512_load_ps(sums)));
    }
  }
  for (int64_t d = 0; d < width; d += kBlock) {
    block_product<true>(state.sums + d, width, {s.p, 2 * kProbabilityRow}, {packed_v + begin / 2 * width + d, 4 * width},
                        columns / kBlock);
  }
}

}  // namespace

int64_t forward_scratch_bytes_amx(int64_t width) {
  ForwardScratch none;
  return carve(nullptr, width, none);
}

NIBBLE_AMX void attention_forward_amx_cpu(const HeadRows& q, const uint32_t* packed_k, const uint32_t* packed_v,
                                          const TileSettings& settings, int64_t first, const HeadRows& out, float* lse,
                                          void* scratch) {
  const int64_t width = settings.width, rows = std::min(kAmxForwardRows, settings.tokens - first);
  ForwardScratch s;
  carve(scratch, width, s);
  copy_rows(q.data + first * q.stride, q.stride, rows, kAmxForwardRows, width, s.q);
  clear_softmax_rows(s.rows, kAmxForwardRows, width);
  const AmxTiles tiles;
  const auto first_block = [&](int64_t query) { return first_key(query, settings.window) / kBlock * kBlock; };
  for (int64_t key = first_block(first); key < first + rows; key += kKeys) {
    for (int64_t row = 0; row < rows; row += kBlock) {
      const int64_t query = first + row;  // a multiple of kBlock
      const int64_t begin = std::max(key, first_block(query)), end = std::min(key + kKeys, query + kBlock);
      if (begin < end) forward_strip(s, packed_k, packed_v, settings, query, row, begin, end);
    }
  }
  store_softmax_rows(s.rows, rows, width, first, out, lse);
}

#else

// amx_bf16_usable is the caller's guard; nothing below is reached without it.
int64_t forward_scratch_bytes_amx(int64_t) { return 0; }
void attention_forward_amx_cpu(const HeadRows&, const uint32_t*, const uint32_t*, const TileSettings&, int64_t, const HeadRows&,
                               float*, void*) {
  throw std::logic_error("no AMX");
}

#endif

}  // namespace nibble::nn
