#include "quant/blockwise_cpu.h"

#include <algorithm>
#include <cmath>

#include "quant/blockwise_simd.h"

namespace nibble::quant {
namespace {

template <class Value>
const Value* block_data(const QuantizeSpan& span, int64_t block) {
  return static_cast<const Value*>(span.weight) + block * span.blocksize;
}

int64_t block_count(const QuantizeSpan& span, int64_t block) {
  return std::min(span.blocksize, span.numel - block * span.blocksize);
}

template <class Value>
int64_t quantize_scalar(const QuantizeSpan& span, int64_t block_begin, int64_t block_end) {
  for (int64_t block = block_begin; block < block_end; ++block) {
    const Value* x = block_data<Value>(span, block);
    const int64_t count = block_count(span, block);
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::bit_cast<uint32_t>(widen(x[i])) & kMagnitudeMask);
    if (largest >= kInfinityBits) return block;
    const float absmax = std::bit_cast<float>(largest);
    span.absmax[block] = absmax;
    // Zeros give 0 * infinity and so code 0; a block of denormals may overflow to infinity. As the CUDA kernel, in IEEE.
    const float inverse = 1.0f / absmax;
    uint8_t* codes = span.codes + block * span.blocksize / 2;
    for (int64_t i = 0; i < count; i += 2) {
      const float first = widen(x[i]) * inverse;
      const float second = (i + 1 < count ? widen(x[i + 1]) : 0.0f) * inverse;  // an odd end is padded with a zero
      codes[i / 2] = span.type == QuantType::kNf4 ? static_cast<uint8_t>(nf4_code_by_tree(first) << 4 | nf4_code_by_tree(second))
                                                  : static_cast<uint8_t>(fp4_code_by_tree(first) << 4 | fp4_code_by_tree(second));
    }
  }
  return -1;
}

int64_t quantize_scalar(const QuantizeSpan& span, int64_t block_begin, int64_t block_end) {
  switch (span.element) {
    case Element::kF32: return quantize_scalar<float>(span, block_begin, block_end);
    case Element::kBf16: return quantize_scalar<Bfloat>(span, block_begin, block_end);
    case Element::kF16: return quantize_scalar<Half>(span, block_begin, block_end);
  }
  return -1;
}

template <class Value>
int64_t find_not_finite(const QuantizeSpan& span, int64_t block) {
  const Value* x = block_data<Value>(span, block);
  for (int64_t i = 0; i < block_count(span, block); ++i) {
    if ((std::bit_cast<uint32_t>(widen(x[i])) & kMagnitudeMask) >= kInfinityBits) return block * span.blocksize + i;
  }
  return -1;
}

template <class Out>
void dequantize_scalar(const DequantizeSpan& span, int64_t begin, int64_t end, Out* out) {
  const std::array<float, 16>& book = codebook(span.type);
  int64_t i = begin;
  for (int64_t block = begin / span.blocksize; i < end; ++block) {
    const int64_t stop = std::min(end, (block + 1) * span.blocksize);
    Out table[16];
    fill_table(book, block_scale(span, block), table);
    decode_scalar(span.codes, i, stop, table, out + (i - begin));
    i = stop;
  }
}

template <class Out>
void dequantize_at(const DequantizeSpan& span, int64_t begin, int64_t end, Out* out, Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512: return dequantize_avx512(span, begin, end, out);
    case Isa::kAvx2: return dequantize_avx2(span, begin, end, out);
#else
    case Isa::kAvx512:
    case Isa::kAvx2:
#endif
    case Isa::kScalar: return dequantize_scalar(span, begin, end, out);
  }
}

// The sum of x[0 .. n), as a tree over `size` (a power of two) leaves of which those from n on are zero.
constexpr int64_t kSumLeaf = 64;
double tree_sum(const float* x, int64_t n, int64_t size) {
  if (n <= 0) return 0.0;
  if (size > kSumLeaf) return tree_sum(x, std::min(n, size / 2), size / 2) + tree_sum(x + size / 2, n - size / 2, size / 2);
  double sums[kSumLeaf] = {};
  std::copy(x, x + n, sums);
  for (int64_t count = kSumLeaf / 2; count > 0; count /= 2) {
    for (int64_t i = 0; i < count; ++i) sums[i] = sums[2 * i] + sums[2 * i + 1];
  }
  return sums[0];
}

}  // namespace

Isa best_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return Isa::kAvx512;
  }
#ifdef __clang__  // whose builtin does not know the name; every processor with AVX2 has F16C
  if (__builtin_cpu_supports("avx2")) return Isa::kAvx2;
#else
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) return Isa::kAvx2;
#endif
#endif
  return Isa::kScalar;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
  }
  return "";
}

int64_t quantize_blocks_cpu(const QuantizeSpan& span, int64_t block_begin, int64_t block_end, Isa isa) {
  const int64_t full_end = std::clamp(span.numel / span.blocksize, block_begin, block_end);
  int64_t bad = -1;
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512: bad = quantize_full_blocks_avx512(span, block_begin, full_end); break;
    case Isa::kAvx2: bad = quantize_full_blocks_avx2(span, block_begin, full_end); break;
#else
    case Isa::kAvx512:
    case Isa::kAvx2:
#endif
    case Isa::kScalar: bad = quantize_scalar(span, block_begin, full_end); break;
  }
  return bad >= 0 ? bad : quantize_scalar(span, full_end, block_end);
}

int64_t find_not_finite_cpu(const QuantizeSpan& span, int64_t block) {
  switch (span.element) {
    case Element::kF32: return find_not_finite<float>(span, block);
    case Element::kBf16: return find_not_finite<Bfloat>(span, block);
    case Element::kF16: return find_not_finite<Half>(span, block);
  }
  return -1;
}

void quantize_scales_cpu(const float* absmax, int64_t blocks, float offset, int64_t nested_begin, int64_t nested_end,
                         uint8_t* absmax_codes, float* nested_absmax) {
  for (int64_t nested = nested_begin; nested < nested_end; ++nested) {
    const int64_t begin = nested * kNestedBlocksize;
    const int64_t end = std::min(blocks, begin + kNestedBlocksize);
    float largest = 0.0f;
    for (int64_t b = begin; b < end; ++b) largest = std::max(largest, std::fabs(absmax[b] - offset));
    nested_absmax[nested] = largest;
    const float inverse = 1.0f / largest;
    for (int64_t b = begin; b < end; ++b) {
      absmax_codes[b] = dynamic_code_by_cell((absmax[b] - offset) * inverse);
    }
  }
}

float mean_scale_cpu(const float* absmax, int64_t blocks) {
  int64_t size = kSumLeaf;
  while (size < blocks) size *= 2;
  return static_cast<float>(tree_sum(absmax, blocks, size) / static_cast<double>(blocks));
}

void dequantize_cpu(const DequantizeSpan& span, int64_t begin, int64_t end, float* out, Isa isa) {
  dequantize_at(span, begin, end, out, isa);
}
void dequantize_cpu(const DequantizeSpan& span, int64_t begin, int64_t end, uint16_t* out_bf16, Isa isa) {
  dequantize_at(span, begin, end, out_bf16, isa);
}

}  // namespace nibble::quant
