// Blockwise quantization with AVX2 and F16C: 8 values a step when encoding, 32 when decoding.
#include "quant/blockwise_simd.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#define NIBBLE_AVX2 __attribute__((target("avx2,f16c")))

namespace nibble::quant {
namespace {

NIBBLE_AVX2 inline __m256 load8(const float* x) { return _mm256_loadu_ps(x); }
NIBBLE_AVX2 inline __m256 load8(const Bfloat* x) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
NIBBLE_AVX2 inline __m256 load8(const Half* x) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

template <class Value>
NIBBLE_AVX2 inline uint32_t magnitude_max(const Value* x, int64_t n) {
  const __m256i mask = _mm256_set1_epi32(static_cast<int>(kMagnitudeMask));
  __m256i even = _mm256_setzero_si256(), odd = even;
  for (int64_t i = 0; i < n; i += 16) {
    even = _mm256_max_epu32(even, _mm256_and_si256(_mm256_castps_si256(load8(x + i)), mask));
    odd = _mm256_max_epu32(odd, _mm256_and_si256(_mm256_castps_si256(load8(x + i + 8)), mask));
  }
  alignas(32) uint32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_max_epu32(even, odd));
  return *std::max_element(lanes, lanes + 8);
}

// One level down: 2 * node + (x > threshold). A comparison's true is -1.
NIBBLE_AVX2 inline __m256i descend(__m256i node, __m256 x, __m256 thresholds) {
  const __m256 above = _mm256_cmp_ps(x, _mm256_permutevar8x32_ps(thresholds, node), _CMP_GT_OQ);
  return _mm256_sub_epi32(_mm256_add_epi32(node, node), _mm256_castps_si256(above));
}

// Codes in the low 4 bits of each lane; the other bits are whatever the search left. `upper` holds the tree's nodes 1..7,
// `leaves` its nodes 8..15 (a look-up uses the low 3 bits of its index).
NIBBLE_AVX2 inline __m256i nf4_codes(__m256 x, __m256 upper, __m256 leaves) {
  __m256i node = _mm256_set1_epi32(1);
  for (int level = 0; level < 3; ++level) node = descend(node, x, upper);
  return descend(node, x, leaves);
}

NIBBLE_AVX2 inline __m256i fp4_codes(__m256 x, __m256 tree, __m256i code_by_size) {
  const __m256 size = _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(kMagnitudeMask))));
  __m256i node = _mm256_set1_epi32(1);
  for (int level = 0; level < 3; ++level) node = descend(node, size, tree);
  const __m256 negative = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ);
  const __m256i sign = _mm256_and_si256(_mm256_castps_si256(negative), _mm256_set1_epi32(8));
  return _mm256_or_si256(_mm256_permutevar8x32_epi32(code_by_size, node), sign);
}

// 8 lanes to 4 bytes, the even lane in the high nibble.
NIBBLE_AVX2 inline void store_packed(__m256i codes, uint8_t* out) {
  const __m256i high = _mm256_and_si256(_mm256_slli_epi64(codes, 4), _mm256_set1_epi64x(0xF0));
  const __m256i low = _mm256_and_si256(_mm256_srli_epi64(codes, 32), _mm256_set1_epi64x(0x0F));
  const __m256i pairs = _mm256_or_si256(high, low);  // one byte in each of four 64-bit lanes
  const __m128i first = _mm256_castsi256_si128(pairs), second = _mm256_extracti128_si256(pairs, 1);
  const __m128i words = _mm_packus_epi32(first, second);   // bytes at 0, 4, 8, 12
  const __m128i gather = _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const int bytes = _mm_cvtsi128_si32(_mm_shuffle_epi8(words, gather));
  std::memcpy(out, &bytes, sizeof bytes);
}

template <class Value>
NIBBLE_AVX2 int64_t quantize(const QuantizeSpan& span, int64_t block_begin, int64_t block_end) {
  const __m256 nf4_upper = _mm256_load_ps(kNf4Tree.data()), nf4_leaves = _mm256_load_ps(kNf4Tree.data() + 8);
  const __m256 fp4_tree = _mm256_load_ps(kFp4Tree.data());
  const __m256i code_by_size =
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kFp4CodeBySize.data())));
  const bool is_nf4 = span.type == QuantType::kNf4;
  for (int64_t block = block_begin; block < block_end; ++block) {
    const Value* x = static_cast<const Value*>(span.weight) + block * span.blocksize;
    const uint32_t largest = magnitude_max(x, span.blocksize);
    if (largest >= kInfinityBits) return block;
    const float absmax = std::bit_cast<float>(largest);
    span.absmax[block] = absmax;
    const __m256 inverse = _mm256_set1_ps(1.0f / absmax);
    uint8_t* codes = span.codes + block * span.blocksize / 2;
    for (int64_t i = 0; i < span.blocksize; i += 8) {
      const __m256 normalized = _mm256_mul_ps(load8(x + i), inverse);
      store_packed(is_nf4 ? nf4_codes(normalized, nf4_upper, nf4_leaves) : fp4_codes(normalized, fp4_tree, code_by_size),
                   codes + i / 2);
    }
  }
  return -1;
}

// A block's 16 products, made for look-ups.
struct Table32 {
  __m256 lower, upper;  // of codes 0..7 and 8..15
};
struct Table16 {
  __m256i low, high;  // the low bytes of the 16 bf16 products in each half; their high bytes
};

NIBBLE_AVX2 inline Table32 make_table(__m256 lower, __m256 upper, const float*) { return {lower, upper}; }

NIBBLE_AVX2 inline __m256i round_to_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd), 16);
}
NIBBLE_AVX2 inline Table16 make_table(__m256 lower, __m256 upper, const uint16_t*) {
  // Packing works within halves: codes 0-3 8-11, 4-7 12-15; then the bytes of each half apart, then halves together.
  const __m256i packed = _mm256_packus_epi32(round_to_bf16(lower), round_to_bf16(upper));
  const __m256i in_order = _mm256_permute4x64_epi64(packed, 0xD8);
  const __m256i split = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,  //
                                         0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  const __m256i by_byte = _mm256_shuffle_epi8(in_order, split);
  return {_mm256_permute4x64_epi64(by_byte, 0x88), _mm256_permute4x64_epi64(by_byte, 0xDD)};
}

NIBBLE_AVX2 inline void decode32(const uint8_t* codes, const Table32& table, float* out) {
  for (int quarter = 0; quarter < 4; ++quarter) {
    int bytes;
    std::memcpy(&bytes, codes + 4 * quarter, sizeof bytes);
    const __m256i pairs = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(bytes));
    const __m256i index = _mm256_or_si256(_mm256_srli_epi64(pairs, 4), _mm256_slli_epi64(pairs, 32));
    const __m256 is_upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));  // bit 3 of the code as the sign
    _mm256_storeu_ps(out + 8 * quarter, _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.lower, index),
                                                         _mm256_permutevar8x32_ps(table.upper, index), is_upper));
  }
}

// A bf16 product's two bytes are looked up apart.
NIBBLE_AVX2 inline void decode32(const uint8_t* codes, const Table16& table, uint16_t* out) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
  const __m128i nibble = _mm_set1_epi8(15);
  const __m128i first = _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble), second = _mm_and_si128(bytes, nibble);
  const __m256i index = _mm256_set_m128i(_mm_unpackhi_epi8(first, second), _mm_unpacklo_epi8(first, second));
  const __m256i low = _mm256_shuffle_epi8(table.low, index), high = _mm256_shuffle_epi8(table.high, index);
  const __m256i a = _mm256_unpacklo_epi8(low, high), b = _mm256_unpackhi_epi8(low, high);  // 0-7 16-23, 8-15 24-31
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute2x128_si256(a, b, 0x20));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 16), _mm256_permute2x128_si256(a, b, 0x31));
}

template <class Out>
NIBBLE_AVX2 void dequantize(const DequantizeSpan& span, int64_t begin, int64_t end, Out* out) {
  const std::array<float, 16>& book = codebook(span.type);
  const __m256 lower = _mm256_loadu_ps(book.data()), upper = _mm256_loadu_ps(book.data() + 8);
  int64_t i = begin;
  for (int64_t block = begin / span.blocksize; i < end; ++block) {
    const int64_t stop = std::min(end, (block + 1) * span.blocksize);
    const float scale = block_scale(span, block);
    if ((i & 1) == 0 && i + 32 <= stop) {
      const __m256 scales = _mm256_set1_ps(scale);
      const auto table = make_table(_mm256_mul_ps(lower, scales), _mm256_mul_ps(upper, scales), out);
      for (; i + 32 <= stop; i += 32) decode32(span.codes + i / 2, table, out + (i - begin));
    }
    if (i < stop) {  // a ragged end, or a range that begins within a byte
      Out values[16];
      fill_table(book, scale, values);
      decode_scalar(span.codes, i, stop, values, out + (i - begin));
      i = stop;
    }
  }
}

}  // namespace

int64_t quantize_full_blocks_avx2(const QuantizeSpan& span, int64_t block_begin, int64_t block_end) {
  switch (span.element) {
    case Element::kF32: return quantize<float>(span, block_begin, block_end);
    case Element::kBf16: return quantize<Bfloat>(span, block_begin, block_end);
    case Element::kF16: return quantize<Half>(span, block_begin, block_end);
  }
  return -1;
}

void dequantize_avx2(const DequantizeSpan& span, int64_t begin, int64_t end, float* out) {
  dequantize(span, begin, end, out);
}
void dequantize_avx2(const DequantizeSpan& span, int64_t begin, int64_t end, uint16_t* out) {
  dequantize(span, begin, end, out);
}

}  // namespace nibble::quant
#endif
