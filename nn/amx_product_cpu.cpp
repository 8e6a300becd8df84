#include "nn/amx_product_cpu.h"

#include <algorithm>
#include <stdexcept>

#include "nn/amx_tile.h"
#include "nn/avx512_tile.h"

namespace nibble::nn {

int64_t amx_step(int64_t summed) {
  for (int64_t step = 32; step >= 8; step -= 2) {
    if (summed > 0 && summed % step == 0) return step;
  }
  return 0;
}

#if defined(__x86_64__)

namespace {

// Of 32 columns, the first `count`.
inline __mmask32 first_columns(int64_t count) { return count >= 32 ? ~__mmask32{0} : (__mmask32{1} << count) - 1; }

// What a block is multiplied by: `summed` terms of packed columns, of which there may be 16 or fewer.
struct Columns {
  const uint16_t* panel;
  int64_t summed, step;
  bool narrow;
};

// to [32, 32] = from + x B for 32 rows, or as many as the tiles are configured for; from nullptr: zeros.
NIBBLE_AMX_INLINE void sum_rows(const AmxLeftTiles& rows, const Columns& b, const float* from, float* to) {
  const int64_t tile = b.step * kAmxColumns, steps = b.summed / b.step;
  if (b.narrow) {
    sum_block<true>(from, to, kPanelColumns, rows, {b.panel, b.panel, 4 * kAmxColumns, 2 * tile}, steps);
  } else {
    sum_block<false>(from, to, kPanelColumns, rows, {b.panel, b.panel + tile, 4 * kAmxColumns, 4 * tile}, steps);
  }
}

AmxLeftTiles block_rows(const ConstRows& x, int64_t first, int64_t rows, int64_t step) {
  const uint16_t* data = x.data + first * x.stride;
  // No row beyond the last is read. A tile has at least one row: where the lower has none, it repeats the block's first.
  return {data, rows > kAmxRows ? data + kAmxRows * x.stride : data, 2 * x.stride, 2 * step};
}

// Calls make(first row, rows) for every 32 rows, tiles configured for them.
template <class Make>
NIBBLE_AMX_INLINE void each_block(const PanelProduct& p, const Make& make) {
  const int64_t whole = p.rows / kBlock * kBlock, rest = p.rows - whole;
  if (whole > 0) {
    const AmxTiles tiles(kAmxRows, kAmxRows, p.step);
    for (int64_t m = 0; m < whole; m += kBlock) make(m, kBlock);
  }
  if (rest == 0) return;
  const AmxTiles tiles(std::min(rest, kAmxRows), std::max<int64_t>(1, rest - kAmxRows), p.step);
  make(whole, rest);
}

// take(first row, rows, sums) for every 32 rows, with what was summed before.
template <class Take>
NIBBLE_AMX_INLINE void each_sum(const PanelProduct& p, const Take& take) {
  alignas(64) float sums[kBlock * kPanelColumns];
  const Columns columns{p.panel, p.summed, p.step, p.columns <= kAmxColumns};
  each_block(p, [&](int64_t first, int64_t rows) NIBBLE_AMX {
    const float* from = p.partial == nullptr ? nullptr : p.partial + first * kPanelColumns;
    if (from != nullptr && rows < kBlock) {  // the lower tile's spare row lies beyond them
      std::copy(from, from + rows * kPanelColumns, sums);
      from = sums;
    }
    sum_rows(block_rows(p.x, first, rows, p.step), columns, from, sums);
    take(first, rows, sums);
  });
}

NIBBLE_AMX_INLINE __m512 widen(__m256i bits) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)); }
NIBBLE_AMX_INLINE __m512 rounded(__m512 x) { return widen((__m256i)_mm512_cvtneps_pbh(x)); }

}  // namespace

NIBBLE_AMX void pack_panel_from_rows_cpu(const ConstRows& w, int64_t columns, int64_t summed, int64_t step, uint16_t* panel) {
  const int64_t pairs = step / 2;
  const auto mask = static_cast<__mmask16>((1u << pairs) - 1);
  for (int64_t k = 0; k < summed; k += step) {
    for (int64_t first = 0; first < columns; first += kAmxColumns, panel += step * kAmxColumns) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; ++i) {
        r[i] = first + i < columns ? _mm512_maskz_loadu_epi32(mask, w.data + (first + i) * w.stride + k) : _mm512_setzero_si512();
      }
      transpose_16x16(r);
      if (pairs == 16) {
#pragma GCC unroll 16
        for (int64_t i = 0; i < 16; ++i) _mm512_store_si512(panel + 32 * i, r[i]);
      } else {
        for (int64_t i = 0; i < pairs; ++i) _mm512_store_si512(panel + 32 * i, r[i]);
      }
    }
  }
}

NIBBLE_AMX void pack_panel_from_columns_cpu(const ConstRows& w, int64_t columns, int64_t summed, int64_t step, uint16_t* panel) {
  constexpr int64_t kAhead = 32;  // rows: no CPU foresees steps of more than a page, and all of a matrix in memory would be waited for
  const int64_t tile = step * kAmxColumns;
  const __mmask32 mask = first_columns(columns);
  // Interleaving stays within 128 bits: of columns 0-31, the first tile gets 0-3, 8-11, 16-19, 24-27. This puts them in order first.
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  const bool narrow = columns <= kAmxColumns;
  for (int64_t k = 0; k < summed; k += step, panel += narrow ? tile : 2 * tile) {
    for (int64_t i = 0; i < step; i += 2) {
      const uint16_t* row = w.data + (k + i) * w.stride;
      _mm_prefetch(reinterpret_cast<const char*>(row + kAhead * w.stride), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(row + (kAhead + 1) * w.stride), _MM_HINT_T1);
      const __m512i low = _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi16(mask, row));
      const __m512i high = _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi16(mask, row + w.stride));
      _mm512_store_si512(panel + 16 * i, _mm512_unpacklo_epi16(low, high));
      if (!narrow) _mm512_store_si512(panel + tile + 16 * i, _mm512_unpackhi_epi16(low, high));
    }
  }
}

NIBBLE_AMX void sum_panel_product_cpu(const PanelProduct& product, bool add) {
  PanelProduct part = product;
  if (!add) part.partial = nullptr;
  each_sum(part, [&](int64_t first, int64_t rows, const float* sums) {
    std::copy(sums, sums + rows * kPanelColumns, product.partial + first * kPanelColumns);
  });
}

NIBBLE_AMX void store_panel_product_cpu(const PanelProduct& product, float alpha, const LowRankProduct& low, const ConstRows& c,
                                        uint16_t* y, int64_t y_stride) {
  const __mmask32 mask = first_columns(product.columns);
  const __m512 factor = _mm512_set1_ps(alpha), low_factor = _mm512_set1_ps(low.scale);
  const Columns low_columns{low.panel, low.rank, kLowRankStep, product.columns <= kAmxColumns};
  alignas(64) float low_sums[kBlock * kPanelColumns];
  each_sum(product, [&](int64_t first, int64_t rows, const float* sums) NIBBLE_AMX {
    if (low.rank > 0) sum_rows(block_rows(low.h, first, rows, kLowRankStep), low_columns, nullptr, low_sums);
    for (int64_t m = 0; m < rows; ++m, sums += kPanelColumns) {
      __m512 left = _mm512_mul_ps(factor, _mm512_load_ps(sums)), right = _mm512_mul_ps(factor, _mm512_load_ps(sums + 16));
      if (c.data != nullptr) {
        const __m512i old = _mm512_maskz_loadu_epi16(mask, c.data + (first + m) * c.stride);
        left = _mm512_add_ps(left, widen(_mm512_castsi512_si256(old)));
        right = _mm512_add_ps(right, widen(_mm512_extracti64x4_epi64(old, 1)));
      }
      if (low.rank > 0) {
        left = _mm512_fmadd_ps(low_factor, _mm512_load_ps(low_sums + m * kPanelColumns), rounded(left));
        right = _mm512_fmadd_ps(low_factor, _mm512_load_ps(low_sums + m * kPanelColumns + 16), rounded(right));
      }
      _mm512_mask_storeu_epi16(y + (first + m) * y_stride, mask, (__m512i)_mm512_cvtne2ps_pbh(right, left));
    }
  });
}

namespace {

// g + factor * sums with two roundings, so that sums which are first added to zeros and then to each other give the same bits
// (trainer/pass_team.h).
NIBBLE_AMX_INLINE __m512 add_to(__m512 g, __m512 factor, __m512 sums) { return _mm512_add_ps(g, _mm512_mul_ps(factor, sums)); }

// g += factor * sums for 16 columns of up to 32 rows. SHAPES g [rows, columns], each row's columns adjacent.
NIBBLE_AMX_INLINE void add_rows(const float* sums, int64_t rows, __mmask16 columns, __m512 factor, float* g, int64_t g_row) {
  for (int64_t m = 0; m < rows; ++m) {
    float* at = g + m * g_row;
    _mm512_mask_storeu_ps(at, columns, add_to(_mm512_maskz_loadu_ps(columns, at), factor, _mm512_load_ps(sums + m * kPanelColumns)));
  }
}

// The same where the rows are adjacent and columns g_column apart.
NIBBLE_AMX_INLINE void add_transposed(const float* sums, int64_t rows, int64_t columns, __m512 factor, float* g, int64_t g_column) {
  for (int64_t first = 0; first < rows; first += 16) {
    const auto mask = static_cast<__mmask16>(first_columns(std::min<int64_t>(16, rows - first)));
    __m512i r[16];
#pragma GCC unroll 16
    for (int64_t i = 0; i < 16; ++i) r[i] = _mm512_load_si512(sums + (first + i) * kPanelColumns);
    transpose_16x16(r);
    for (int64_t n = 0; n < columns; ++n) {
      float* at = g + n * g_column + first;
      _mm512_mask_storeu_ps(at, mask, add_to(_mm512_maskz_loadu_ps(mask, at), factor, _mm512_castsi512_ps(r[n])));
    }
  }
}

}  // namespace

NIBBLE_AMX void add_panel_product_cpu(const PanelProduct& product, float alpha, float* g, int64_t g_row, int64_t g_column) {
  const __m512 factor = _mm512_set1_ps(alpha);
  each_sum(product, [&](int64_t first, int64_t rows, const float* sums) NIBBLE_AMX {
    for (int64_t n = 0; n < product.columns; n += 16) {
      const int64_t columns = std::min<int64_t>(16, product.columns - n);
      float* at = g + first * g_row + n * g_column;
      if (g_column == 1) {
        add_rows(sums + n, rows, static_cast<__mmask16>(first_columns(columns)), factor, at, g_row);
      } else {
        add_transposed(sums + n, rows, columns, factor, at, g_column);
      }
    }
  });
}

#else

// amx_bf16_usable is the caller's guard; nothing below is reached without it.
void pack_panel_from_rows_cpu(const ConstRows&, int64_t, int64_t, int64_t, uint16_t*) { throw std::logic_error("no AMX"); }
void pack_panel_from_columns_cpu(const ConstRows&, int64_t, int64_t, int64_t, uint16_t*) { throw std::logic_error("no AMX"); }
void sum_panel_product_cpu(const PanelProduct&, bool) { throw std::logic_error("no AMX"); }
void store_panel_product_cpu(const PanelProduct&, float, const LowRankProduct&, const ConstRows&, uint16_t*, int64_t) {
  throw std::logic_error("no AMX");
}
void add_panel_product_cpu(const PanelProduct&, float, float*, int64_t, int64_t) { throw std::logic_error("no AMX"); }

#endif

}  // namespace nibble::nn
