// Blockwise quantization with AVX-512: 16 values a step when encoding, 32 when decoding.
#include "quant/blockwise_simd.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <limits>

#include "core/prefetch.h"
#include "quant/code_cells.h"

// g++ 12 takes the undefined sources of its own AVX-512 intrinsics for uninitialized variables of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define NIBBLE_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

namespace nibble::quant {
namespace {

constexpr float kLargestFloat = std::numeric_limits<float>::max();

NIBBLE_AVX512 inline __m512 load16(const float* x) { return _mm512_loadu_ps(x); }
NIBBLE_AVX512 inline __m512 load16(const Bfloat* x) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
NIBBLE_AVX512 inline __m512 load16(const Half* x) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}

template <class Value>
NIBBLE_AVX512 inline uint32_t magnitude_max(const Value* x, int64_t n) {
  const __m512i mask = _mm512_set1_epi32(static_cast<int>(kMagnitudeMask));
  __m512i even = _mm512_setzero_si512(), odd = even;
  for (int64_t i = 0; i < n; i += 32) {
    prefetch_ahead(x + i);
    even = _mm512_max_epu32(even, _mm512_and_si512(_mm512_castps_si512(load16(x + i)), mask));
    odd = _mm512_max_epu32(odd, _mm512_and_si512(_mm512_castps_si512(load16(x + i + 16)), mask));
  }
  return _mm512_reduce_max_epu32(_mm512_max_epu32(even, odd));
}

// Codes in the low 4 bits of each lane; the other bits are whatever the search left.
NIBBLE_AVX512 inline __m512i nf4_codes(__m512 x, __m512 tree) {
  const __m512i one = _mm512_set1_epi32(1);
  __m512i node = one;
  for (int level = 0; level < 4; ++level) {
    const __mmask16 above = _mm512_cmp_ps_mask(x, _mm512_permutexvar_ps(node, tree), _CMP_GT_OQ);
    node = _mm512_add_epi32(node, node);
    node = _mm512_mask_add_epi32(node, above, node, one);
  }
  return node;
}

NIBBLE_AVX512 inline __m512i fp4_codes(__m512 x, __m512 tree, __m512i code_by_size) {
  const __m512i one = _mm512_set1_epi32(1);
  const __m512 size = _mm512_abs_ps(x);
  __m512i node = one;
  for (int level = 0; level < 3; ++level) {
    const __mmask16 above = _mm512_cmp_ps_mask(size, _mm512_permutexvar_ps(node, tree), _CMP_GT_OQ);
    node = _mm512_add_epi32(node, node);
    node = _mm512_mask_add_epi32(node, above, node, one);
  }
  const __m512i code = _mm512_permutexvar_epi32(node, code_by_size);  // node is 8 + size
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  return _mm512_mask_or_epi32(code, negative, code, _mm512_set1_epi32(8));
}

// 16 lanes to 8 bytes, the even lane in the high nibble.
NIBBLE_AVX512 inline void store_packed(__m512i codes, uint8_t* out) {
  const __m512i high = _mm512_slli_epi64(codes, 4), low = _mm512_srli_epi64(codes, 32);
  const __m512i pairs = _mm512_ternarylogic_epi64(high, low, _mm512_set1_epi64(0xF0), 0xE4);  // bitwise mask ? high : low
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm512_cvtepi64_epi8(pairs));
}

// The look-ups of quant/code_cells.h. REQUIRES x in [-1, 1] or, for code 0, NaN.
struct Nf4CellTables {
  __m512 threshold[2];
  __m512i before[2];
};

NIBBLE_AVX512 inline Nf4CellTables load_nf4_cells() {
  return {{_mm512_loadu_ps(kNf4CellTable.threshold.data()), _mm512_loadu_ps(kNf4CellTable.threshold.data() + 16)},
          {_mm512_loadu_si512(kNf4CellTable.before.data()), _mm512_loadu_si512(kNf4CellTable.before.data() + 16)}};
}

NIBBLE_AVX512 inline __m512i nf4_codes(__m512 x, const Nf4CellTables& cells) {
  const __m512 scale = _mm512_set1_ps(kNf4CellScale);
  const __m512i cell = _mm512_cvttps_epi32(_mm512_fmadd_ps(x, scale, scale));
  const __m512 threshold = _mm512_permutex2var_ps(cells.threshold[0], cell, cells.threshold[1]);
  const __m512i before = _mm512_permutex2var_epi32(cells.before[0], cell, cells.before[1]);
  return _mm512_mask_add_epi32(before, _mm512_cmp_ps_mask(x, threshold, _CMP_GT_OQ), before, _mm512_set1_epi32(1));
}

// 64 values as they lie, times a factor, to 32 bytes.
template <class Value>
NIBBLE_AVX512 inline void encode64(const Value* x, __m512 factor, const Nf4CellTables& cells, uint8_t* out) {
  __m512i codes[4];
  for (int i = 0; i < 4; ++i) codes[i] = nf4_codes(_mm512_mul_ps(load16(x + 16 * i), factor), cells);
  // Packing narrows within 128 bits; a dword then is lane l of vector v, at 4 l + v instead of 4 v + l.
  const __m512i mixed = _mm512_packus_epi16(_mm512_packus_epi32(codes[0], codes[1]), _mm512_packus_epi32(codes[2], codes[3]));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i bytes = _mm512_permutexvar_epi32(order, mixed);
  const __m512i pairs = _mm512_maddubs_epi16(bytes, _mm512_set1_epi16(0x0110));  // 16 times the even one and the odd one
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi16_epi8(pairs));
}

template <class Value>
NIBBLE_AVX512 int64_t quantize(const QuantizeSpan& span, int64_t block_begin, int64_t block_end) {
  const __m512 nf4_tree = _mm512_load_ps(kNf4Tree.data());
  const __m512 fp4_tree = _mm512_broadcast_f32x8(_mm256_load_ps(kFp4Tree.data()));
  const __m128i by_size = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kFp4CodeBySize.data()));
  const __m512i code_by_size = _mm512_broadcast_i32x8(_mm256_cvtepu8_epi32(by_size));
  const bool is_nf4 = span.type == QuantType::kNf4, by_cells = is_nf4 && span.blocksize % 64 == 0;
  const Nf4CellTables cells = load_nf4_cells();
  for (int64_t block = block_begin; block < block_end; ++block) {
    const Value* x = static_cast<const Value*>(span.weight) + block * span.blocksize;
    const uint32_t largest = magnitude_max(x, span.blocksize);
    if (largest >= kInfinityBits) return block;
    const float absmax = std::bit_cast<float>(largest);
    span.absmax[block] = absmax;
    const float factor = 1.0f / absmax;
    const __m512 inverse = _mm512_set1_ps(factor);
    uint8_t* codes = span.codes + block * span.blocksize / 2;
    // An infinite factor, of zeros and of denormals, takes values out of [-1, 1].
    if (by_cells && factor <= kLargestFloat) {
      for (int64_t i = 0; i < span.blocksize; i += 64) encode64(x + i, inverse, cells, codes + i / 2);
      continue;
    }
    for (int64_t i = 0; i < span.blocksize; i += 16) {
      const __m512 normalized = _mm512_mul_ps(load16(x + i), inverse);
      store_packed(is_nf4 ? nf4_codes(normalized, nf4_tree) : fp4_codes(normalized, fp4_tree, code_by_size),
                   codes + i / 2);
    }
  }
  return -1;
}

// The 16 products of a block, and the look-up of 32 codes in them.
struct Table32 {
  __m512 values;
};
struct Table16 {
  __m512i values;  // twice, so that the index's bit 4 does not matter
};

NIBBLE_AVX512 inline Table32 make_table(__m512 products, const float*) { return {products}; }
NIBBLE_AVX512 inline Table16 make_table(__m512 products, const uint16_t*) {
  const __m512i bits = _mm512_castps_si512(products);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
  return {_mm512_broadcast_i64x4(_mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)))};
}

NIBBLE_AVX512 inline void decode32(const uint8_t* codes, const Table32& table, float* out) {
  for (int half = 0; half < 2; ++half) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + 8 * half));
    const __m512i pairs = _mm512_cvtepu8_epi64(bytes);
    // Even lane: the high nibble. Odd lane: the whole byte, of which the look-up uses the low 4 bits.
    const __m512i index = _mm512_or_si512(_mm512_srli_epi64(pairs, 4), _mm512_slli_epi64(pairs, 32));
    _mm512_storeu_ps(out + 16 * half, _mm512_permutexvar_ps(index, table.values));
  }
}
NIBBLE_AVX512 inline void decode32(const uint8_t* codes, const Table16& table, uint16_t* out) {
  const __m512i pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
  const __m512i index = _mm512_or_si512(_mm512_srli_epi32(pairs, 4), _mm512_slli_epi32(pairs, 16));
  _mm512_storeu_si512(out, _mm512_permutexvar_epi16(index, table.values));
}

NIBBLE_AVX512 inline void keep(const Table32& table, float (&out)[16]) { _mm512_storeu_ps(out, table.values); }
NIBBLE_AVX512 inline void keep(const Table16& table, uint16_t (&out)[16]) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_castsi512_si256(table.values));
}

template <class Out>
NIBBLE_AVX512 void dequantize(const DequantizeSpan& span, int64_t begin, int64_t end, Out* out) {
  const __m512 book = _mm512_loadu_ps(codebook(span.type).data());
  int64_t i = begin;
  for (int64_t block = begin / span.blocksize; i < end; ++block) {
    const int64_t stop = std::min(end, (block + 1) * span.blocksize);
    const auto table = make_table(_mm512_mul_ps(book, _mm512_set1_ps(block_scale(span, block))), out);
    if ((i & 1) == 0) {
      for (; i + 32 <= stop; i += 32) decode32(span.codes + i / 2, table, out + (i - begin));
    }
    if (i < stop) {  // a ragged end, or a range that begins within a byte
      Out values[16];
      keep(table, values);
      decode_scalar(span.codes, i, stop, values, out + (i - begin));
      i = stop;
    }
  }
}

}  // namespace

int64_t quantize_full_blocks_avx512(const QuantizeSpan& span, int64_t block_begin, int64_t block_end) {
  switch (span.element) {
    case Element::kF32: return quantize<float>(span, block_begin, block_end);
    case Element::kBf16: return quantize<Bfloat>(span, block_begin, block_end);
    case Element::kF16: return quantize<Half>(span, block_begin, block_end);
  }
  return -1;
}

void dequantize_avx512(const DequantizeSpan& span, int64_t begin, int64_t end, float* out) {
  dequantize(span, begin, end, out);
}
void dequantize_avx512(const DequantizeSpan& span, int64_t begin, int64_t end, uint16_t* out) {
  dequantize(span, begin, end, out);
}

}  // namespace nibble::quant
#endif
