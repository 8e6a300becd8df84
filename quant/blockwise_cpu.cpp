#include "quant/blockwise_cpu.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/bf16.h"
#include "core/vectorize.h"
#include "quant/blockwise_math.h"

#if defined(__x86_64__)
#include <immintrin.h>
// g++ 12 takes the undefined sources of its own AVX-512 intrinsics for uninitialized variables of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace nibble::quant {
namespace {

constexpr int64_t kMaxBlocksize = 4096;

NIBBLE_INLINE float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, rest = h & 0x7FFFu;
  // Multiplying by 2^112 turns half's exponent bias into float's and normalizes denormals exactly.
  const float scaled = std::bit_cast<float>(rest << 13) * 0x1p112f;
  const uint32_t bits = rest >= 0x7C00u ? 0x7F800000u | (rest & 0x3FFu) << 13 : std::bit_cast<uint32_t>(scaled);
  return std::bit_cast<float>(bits | sign);
}

NIBBLE_INLINE float load(const float* p, int64_t i) { return p[i]; }
struct Bf16Bits { const uint16_t* p; };
struct HalfBits { const uint16_t* p; };
NIBBLE_INLINE float load(const Bf16Bits& v, int64_t i) { return bf16_to_float(v.p[i]); }
NIBBLE_INLINE float load(const HalfBits& v, int64_t i) { return half_to_float(v.p[i]); }

// One block: n values into codes (one byte each) and its scale. False where a value is not finite.
template <class Values>
NIBBLE_INLINE bool quantize_block(const Values& values, int64_t first, int64_t n, QuantType type, uint8_t* code, float& absmax) {
  float x[kMaxBlocksize];
  uint32_t largest = 0;  // of the magnitudes' bits, which order like the magnitudes; infinity and NaN above all
  for (int64_t i = 0; i < n; ++i) {
    x[i] = load(values, first + i);
    const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFFu;
    largest = largest < magnitude ? magnitude : largest;
  }
  if (largest >= 0x7F800000u) return false;
  absmax = std::bit_cast<float>(largest);
  const float inverse = 1.0f / absmax;  // of a block of zeros: infinity, and 0 * infinity is NaN, code 0
  if (type == QuantType::kNf4) {
    for (int64_t i = 0; i < n; ++i) code[i] = static_cast<uint8_t>(nf4_code(x[i] * inverse));
  } else {
    for (int64_t i = 0; i < n; ++i) code[i] = static_cast<uint8_t>(fp4_code(x[i] * inverse));
  }
  return true;
}

// What an odd count's last low nibble holds: the code of the zero that fills the block up.
uint8_t padding_code(QuantType type, float absmax) {
  const float scaled = 0.0f * (1.0f / absmax);
  return static_cast<uint8_t>(type == QuantType::kNf4 ? nf4_code(scaled) : fp4_code(scaled));
}

template <class Values>
NIBBLE_INLINE int64_t quantize_range(const Values& values, QuantType type, const BlockRange& range, uint8_t* codes, float* absmax) {
  uint8_t code[kMaxBlocksize + 1];
  for (int64_t b = range.begin; b < range.end; ++b) {
    const int64_t first = b * range.blocksize, n = std::min(range.blocksize, range.n - first);
    if (!quantize_block(values, first, n, type, code, absmax[b])) {
      for (int64_t i = first; i < first + n; ++i) {
        if (!std::isfinite(load(values, i))) return i;
      }
    }
    if (n % 2 != 0) code[n] = padding_code(type, absmax[b]);
    uint8_t* packed = codes + first / 2;
    for (int64_t j = 0; j < (n + 1) / 2; ++j) packed[j] = static_cast<uint8_t>(code[2 * j] << 4 | code[2 * j + 1]);
  }
  return -1;
}

NIBBLE_CLONES int64_t quantize_f32(const float* v, QuantType type, const BlockRange& range, uint8_t* codes, float* absmax) {
  return quantize_range(v, type, range, codes, absmax);
}
NIBBLE_CLONES int64_t quantize_bf16(const uint16_t* v, QuantType type, const BlockRange& range, uint8_t* codes, float* absmax) {
  return quantize_range(Bf16Bits{v}, type, range, codes, absmax);
}
NIBBLE_CLONES int64_t quantize_f16(const uint16_t* v, QuantType type, const BlockRange& range, uint8_t* codes, float* absmax) {
  return quantize_range(HalfBits{v}, type, range, codes, absmax);
}

const float* codebook(QuantType type) {
  switch (type) {
    case QuantType::kNf4: return kNf4Codebook.data();
    case QuantType::kFp4: return kFp4Codebook.data();
  }
  return nullptr;
}

// The sixteen values that a block can hold: 16 products instead of one a weight, with the same results.
void block_values(const float* book, float absmax, float (&values)[16]) {
  for (int i = 0; i < 16; ++i) values[i] = book[i] * absmax;
}

template <class Out>
void scalar_codes(const uint8_t* packed, const Out (&table)[16], int64_t n, Out* out) {
  for (int64_t j = 0; j < n / 2; ++j) {
    out[2 * j] = table[packed[j] >> 4];
    out[2 * j + 1] = table[packed[j] & 15];
  }
  if (n % 2 != 0) out[n - 1] = table[packed[n / 2] >> 4];
}

#if defined(__x86_64__)

// 32 codes at a time: a permute of 16-bit lanes whose indices are spread from 16 bytes.
__attribute__((target("avx512f,avx512bw,avx512vl"))) int64_t avx512_codes(const uint8_t* packed, const uint16_t (&table)[16],
                                                                         int64_t n, uint16_t* out) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(table));
  const __m512i lut = _mm512_inserti64x4(_mm512_castsi256_si512(half), half, 1);
  const __m512i low = _mm512_set1_epi32(15);
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + i / 2)));
    const __m512i index = _mm512_or_si512(_mm512_srli_epi32(bytes, 4), _mm512_slli_epi32(_mm512_and_si512(bytes, low), 16));
    _mm512_storeu_si512(out + i, _mm512_permutexvar_epi16(index, lut));
  }
  return i;
}

__attribute__((target("avx512f"))) int64_t avx512_codes(const uint8_t* packed, const float (&table)[16], int64_t n, float* out) {
  const __m512 lut = _mm512_loadu_ps(table);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed + i / 2)));
    // Lane j holds byte j of eight; element 2j is its high nibble: spread the bytes to pairs, shift the even lanes.
    const __m512i pair = _mm512_permutexvar_epi32(_mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0), bytes);
    const __m512i index = _mm512_mask_srli_epi32(pair, 0x5555, pair, 4);
    _mm512_storeu_ps(out + i, _mm512_permutexvar_ps(_mm512_and_si512(index, _mm512_set1_epi32(15)), lut));
  }
  return i;
}

// 32 codes at a time: the two bytes of a bf16 value are looked up apart and interleaved.
__attribute__((target("avx2"))) int64_t avx2_codes(const uint8_t* packed, const uint16_t (&table)[16], int64_t n, uint16_t* out) {
  alignas(16) uint8_t low_bytes[16], high_bytes[16];
  for (int i = 0; i < 16; ++i) {
    low_bytes[i] = static_cast<uint8_t>(table[i]);
    high_bytes[i] = static_cast<uint8_t>(table[i] >> 8);
  }
  const __m128i lut_low = _mm_load_si128(reinterpret_cast<const __m128i*>(low_bytes));
  const __m128i lut_high = _mm_load_si128(reinterpret_cast<const __m128i*>(high_bytes));
  const __m128i mask = _mm_set1_epi8(15);
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + i / 2));
    const __m128i even = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask), odd = _mm_and_si128(bytes, mask);
    for (int half = 0; half < 2; ++half) {
      const __m128i code = half == 0 ? _mm_unpacklo_epi8(even, odd) : _mm_unpackhi_epi8(even, odd);
      const __m128i lo = _mm_shuffle_epi8(lut_low, code), hi = _mm_shuffle_epi8(lut_high, code);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i + 16 * half), _mm_unpacklo_epi8(lo, hi));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i + 16 * half + 8), _mm_unpackhi_epi8(lo, hi));
    }
  }
  return i;
}

// 16 codes at a time by two permutes of eight floats and a blend on bit 3 of the code.
__attribute__((target("avx2"))) int64_t avx2_codes(const uint8_t* packed, const float (&table)[16], int64_t n, float* out) {
  const __m256 lut_low = _mm256_loadu_ps(table), lut_high = _mm256_loadu_ps(table + 8);
  const __m128i mask = _mm_set1_epi8(15);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed + i / 2));
    const __m128i even = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask), odd = _mm_and_si128(bytes, mask);
    const __m128i codes = _mm_unpacklo_epi8(even, odd);
    for (int half = 0; half < 2; ++half) {
      const __m256i index = _mm256_cvtepu8_epi32(half == 0 ? codes : _mm_srli_si128(codes, 8));
      const __m256 from_low = _mm256_permutevar8x32_ps(lut_low, index), from_high = _mm256_permutevar8x32_ps(lut_high, index);
      const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));  // bit 3 becomes the sign
      _mm256_storeu_ps(out + i + 8 * half, _mm256_blendv_ps(from_low, from_high, upper));
    }
  }
  return i;
}

#endif

template <class Out>
void decode_block(const uint8_t* packed, const Out (&table)[16], int64_t n, Out* out, Isa isa) {
  int64_t done = 0;
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) done = avx512_codes(packed, table, n, out);
  if (isa == Isa::kAvx2) done = avx2_codes(packed, table, n, out);
#else
  (void)isa;
#endif
  scalar_codes(packed + done / 2, table, n - done, out + done);
}

}  // namespace

Isa best_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) return Isa::kAvx512;
  if (__builtin_cpu_supports("avx2")) return Isa::kAvx2;
#endif
  return Isa::kScalar;
}

int64_t quantize_blocks(const void* values, Element element, QuantType type, const BlockRange& range, uint8_t* codes, float* absmax) {
  switch (element) {
    case Element::kF32: return quantize_f32(static_cast<const float*>(values), type, range, codes, absmax);
    case Element::kBf16: return quantize_bf16(static_cast<const uint16_t*>(values), type, range, codes, absmax);
    case Element::kF16: return quantize_f16(static_cast<const uint16_t*>(values), type, range, codes, absmax);
  }
  return -1;
}

void dequantize_blocks_bf16(const uint8_t* codes, const float* absmax, QuantType type, const BlockRange& range, uint16_t* out, Isa isa) {
  const float* book = codebook(type);
  float values[16];
  uint16_t table[16];
  for (int64_t b = range.begin; b < range.end; ++b) {
    const int64_t first = b * range.blocksize, n = std::min(range.blocksize, range.n - first);
    block_values(book, absmax[b], values);
    for (int i = 0; i < 16; ++i) table[i] = float_to_bf16(values[i]);
    decode_block(codes + first / 2, table, n, out + first, isa);
  }
}

void dequantize_blocks_f32(const uint8_t* codes, const float* absmax, QuantType type, const BlockRange& range, float* out, Isa isa) {
  const float* book = codebook(type);
  float values[16];
  for (int64_t b = range.begin; b < range.end; ++b) {
    const int64_t first = b * range.blocksize, n = std::min(range.blocksize, range.n - first);
    block_values(book, absmax[b], values);
    decode_block(codes + first / 2, values, n, out + first, isa);
  }
}

}  // namespace nibble::quant
