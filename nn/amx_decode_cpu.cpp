#include "nn/amx_decode_cpu.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "nn/amx_product_cpu.h"
#include "nn/amx_tile.h"
#include "nn/avx512_tile.h"
#include "quant/codebook.h"

namespace nibble::nn {

#if defined(__x86_64__)

namespace {

#define NIBBLE_DECODE __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi")))

constexpr int64_t kTileValues = kDecodedStep * kAmxColumns;
constexpr int64_t kMostPieces = 2048 / quant::kPiece;  // of a panel's column
constexpr int64_t kPairValues = 2 * kAmxColumns;       // two terms of a tile's columns: 64 bytes

// scales[piece][column] of 16 rows of the weight, pieces of [k, k + terms). Columns that are not there: what was there.
void scales_of_rows(const PackedMatrix& w, int64_t row, int64_t columns, int64_t k, int64_t terms, float (*scales)[kAmxColumns]) {
  float of_row[kMostPieces];
  const int64_t pieces = terms / quant::kPiece;
  for (int64_t n = 0; n < columns; ++n) {
    quant::rebuild_scales(w.span, ((row + n) * w.in + k) / quant::kPiece, pieces, of_row);
    for (int64_t p = 0; p < pieces; ++p) scales[p][n] = of_row[p];
  }
}

// Eight terms of 16 columns, their codes' dwords in lanes, to four lines of a tile. A byte holds two terms, the first in its high nibble.
NIBBLE_DECODE inline void decode_dwords(__m512i codes, __m512 left_scales, __m512 right_scales, __m512 book, uint16_t* line) {
  const __m512i left_columns = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  const __m512i left = _mm512_permutexvar_epi32(left_columns, codes);
  const __m512i right = _mm512_permutexvar_epi32(_mm512_add_epi32(left_columns, _mm512_set1_epi32(8)), codes);
  __m512i shift = _mm512_set1_epi64(4);  // even lanes: the high nibble; a look-up uses 4 bits of an index
#pragma GCC unroll 4
  for (int64_t byte = 0; byte < 4; ++byte, line += kPairValues, shift = _mm512_add_epi32(shift, _mm512_set1_epi32(8))) {
    const __m512 low = _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srlv_epi32(left, shift), book), left_scales);
    const __m512 high = _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srlv_epi32(right, shift), book), right_scales);
    _mm512_store_si512(line, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
}

}  // namespace

bool has_panel_decoder(const PackedMatrix& w) {
  return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bf16") && quant::has_pieces(w.span, w.in);
}

NIBBLE_DECODE void decode_panel_from_rows_cpu(const PackedMatrix& w, int64_t row, int64_t columns, int64_t k, int64_t terms,
                                              uint16_t* panel) {
  constexpr int64_t kAtOnce = 128;  // terms: 64 bytes of codes
  const __m512 book = _mm512_loadu_ps(quant::codebook(w.span.type).data());
  const __m512i left_columns = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  const __m512i right_columns = _mm512_add_epi32(left_columns, _mm512_set1_epi32(8));
  const int64_t stored = stored_columns(columns), row_bytes = w.in / 2;
  for (int64_t first = 0; first < stored; first += kAmxColumns) {
    float scales[kMostPieces][kAmxColumns] = {};
    const int64_t here = std::min(kAmxColumns, columns - first);
    scales_of_rows(w, row + first, here, k, terms, scales);
    const uint8_t* const codes = w.span.codes + (row + first) * row_bytes + k / 2;
    for (int64_t t = 0; t < terms; t += kAtOnce) {
      const int64_t count = std::min(kAtOnce, terms - t);
      const auto mask = static_cast<__mmask16>((1u << count / 8) - 1);
      __m512i r[16];
#pragma GCC unroll 16
      for (int64_t n = 0; n < 16; ++n) {
        const uint8_t* at = codes + (n < here ? n : 0) * row_bytes + t / 2;
        _mm_prefetch(reinterpret_cast<const char*>(at + kPanelColumns * row_bytes), _MM_HINT_T1);
        r[n] = _mm512_maskz_loadu_epi32(mask, at);
      }
      transpose_16x16(r);
      for (int64_t piece = 0; piece < count / quant::kPiece; ++piece) {
        const __m512 of_columns = _mm512_loadu_ps(scales[t / quant::kPiece + piece]);
        const __m512 left = _mm512_permutexvar_ps(left_columns, of_columns), right = _mm512_permutexvar_ps(right_columns, of_columns);
#pragma GCC unroll 8
        for (int64_t i = 0; i < 8; ++i) {
          const int64_t term = t + quant::kPiece * piece + 8 * i;
          uint16_t* tile = panel + term / kDecodedStep * kDecodedStep * stored + first * kDecodedStep;
          decode_dwords(piece == 0 ? r[i] : r[8 + i], left, right, book, tile + term % kDecodedStep / 2 * kPairValues);
        }
      }
    }
  }
}

NIBBLE_DECODE void decode_panels_from_columns_cpu(const PackedMatrix& w, int64_t column, int64_t end, int64_t k, int64_t terms,
                                                  uint16_t* panels, int64_t panel_stride) {
  constexpr int64_t kAhead = 32;  // rows
  const __m512 book = _mm512_loadu_ps(quant::codebook(w.span.type).data());
  // Dword 2i and 2i + 1: byte i of the first row and, as its high word, of the second row, which begins at byte 16.
  alignas(64) static constexpr auto kPlaces = [] {
    std::array<uint8_t, 64> places{};
    for (int i = 0; i < 64; i += 4) {
      places[i] = places[i + 1] = static_cast<uint8_t>(i / 8);
      places[i + 2] = places[i + 3] = static_cast<uint8_t>(16 + i / 8);
    }
    return places;
  }();
  const __m512i left_places = _mm512_load_si512(kPlaces.data()), right_places = _mm512_add_epi8(left_places, _mm512_set1_epi8(8));
  const __m512i high_first = _mm512_set1_epi64(4);  // even dwords: the high nibbles
  const __m512i nibbles = _mm512_set1_epi32(0x000F000F), second_table = _mm512_set1_epi32(0x00100000);
  const quant::PieceScales scale(w.span);
  const int64_t row_bytes = w.in / 2, row_pieces = w.in / quant::kPiece;
  for (int64_t i = 0; i < terms; i += 2) {
    uint16_t* to = panels + i / kDecodedStep * 2 * kTileValues + i % kDecodedStep / 2 * kPairValues;
    const int64_t element = (k + i) * w.in + column;
    const uint8_t* at = w.span.codes + element / 2;
    __m512i table = _mm512_setzero_si512();
    for (int64_t n = 0; n < end - column; n += kPanelColumns, at += kPanelColumns / 2, to += panel_stride) {
      if (n == 0 || (column + n) % quant::kPiece == 0) {
        const int64_t piece = (element + n) / quant::kPiece;
        const __m512 first = _mm512_mul_ps(book, _mm512_set1_ps(scale(piece)));
        const __m512 second = _mm512_mul_ps(book, _mm512_set1_ps(scale(piece + row_pieces)));
        table = (__m512i)_mm512_cvtne2ps_pbh(second, first);
      }
      _mm_prefetch(reinterpret_cast<const char*>(at + kAhead * row_bytes), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(at + (kAhead + 1) * row_bytes), _MM_HINT_T1);
      const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
      const __m128i second = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + row_bytes));
      const __m512i codes = _mm512_castsi256_si512(_mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1));
      const __m512i left = _mm512_srlv_epi32(_mm512_permutexvar_epi8(left_places, codes), high_first);
      const __m512i right = _mm512_srlv_epi32(_mm512_permutexvar_epi8(right_places, codes), high_first);
      _mm512_store_si512(to, _mm512_permutexvar_epi16(_mm512_ternarylogic_epi32(left, nibbles, second_table, 0xEA), table));
      _mm512_store_si512(to + kTileValues, _mm512_permutexvar_epi16(_mm512_ternarylogic_epi32(right, nibbles, second_table, 0xEA), table));
    }
  }
}

#else

bool has_panel_decoder(const PackedMatrix&) { return false; }
void decode_panel_from_rows_cpu(const PackedMatrix&, int64_t, int64_t, int64_t, int64_t, uint16_t*) { throw std::logic_error("no AMX"); }
void decode_panels_from_columns_cpu(const PackedMatrix&, int64_t, int64_t, int64_t, int64_t, uint16_t*, int64_t) {
  throw std::logic_error("no AMX");
}

#endif

}  // namespace nibble::nn
