#include "quant/blockwise.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "core/error.h"
#include "quant/blockwise_cpu.h"

namespace nibble::quant {
namespace {

constexpr int64_t kGrainElements = 64 * 1024;  // below this, waking a second thread costs more than it saves

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) {
  throw std::invalid_argument(fmt::format(text, std::forward<Args>(args)...));
}

std::string shape_text(const Tensor& t) { return fmt::format("[{}]", fmt::join(t.sizes().vec(), ", ")); }

Element element_type(const Tensor& weight) {
  switch (weight.scalar_type()) {
    case at::kFloat: return Element::kF32;
    case at::kBFloat16: return Element::kBf16;
    case at::kHalf: return Element::kF16;
    default: refuse("quantize: a weight of dtype {}; give float, bfloat16 or half", at::toString(weight.scalar_type()));
  }
}

void expect_cpu(const Tensor& t, const char* name) {
  if (!t.device().is_cpu()) refuse("{} is on device {}; expected the CPU", name, t.device().str());
  if (!t.is_contiguous()) refuse("{} is not contiguous", name);
}

void expect_part(const Tensor& part, const char* name, at::ScalarType dtype, int64_t count) {
  if (!part.defined()) refuse("quantized weight: {} is missing; expected {} values", name, count);
  if (part.scalar_type() != dtype) {
    refuse("quantized weight: {} has dtype {}; expected {}", name, at::toString(part.scalar_type()), at::toString(dtype));
  }
  if (part.numel() != count) {
    refuse("quantized weight: {} has {} values; expected {}", name, part.numel(), count);
  }
  expect_cpu(part, name);
}

void check_parts(const QuantizedWeight& q) {
  check_blocksize(q.config.blocksize);
  int64_t numel = 0;
  if (q.out <= 0 || q.in <= 0 || __builtin_mul_overflow(q.out, q.in, &numel) ||
      numel > std::numeric_limits<int64_t>::max() - kLargestBlocksize) {
    refuse("quantized weight: shape [{}, {}] is empty or too large", q.out, q.in);
  }
  expect_part(q.codes, "codes", at::kByte, numel / 2 + numel % 2);
  if (!q.config.double_quant) return expect_part(q.absmax, "absmax", at::kFloat, q.blocks());
  const int64_t nested = (q.blocks() + kNestedBlocksize - 1) / kNestedBlocksize;
  expect_part(q.absmax_codes, "absmax codes", at::kByte, q.blocks());
  expect_part(q.nested_absmax, "nested absmax", at::kFloat, nested);
}

void check_finite(const Tensor& scales, const char* name, float largest_allowed) {
  const float* values = scales.const_data_ptr<float>();
  for (int64_t i = 0; i < scales.numel(); ++i) {
    if (!(std::fabs(values[i]) <= largest_allowed)) {
      refuse("quantized weight: {}[{}] = {}, which no scale can be; the file is damaged", name, i, values[i]);
    }
  }
}

DequantizeSpan span_of(const QuantizedWeight& q) {
  DequantizeSpan span;
  span.type = q.config.type;
  span.blocksize = q.config.blocksize;
  span.numel = q.numel();
  span.codes = q.codes.const_data_ptr<uint8_t>();
  if (q.config.double_quant) {
    span.absmax_codes = q.absmax_codes.const_data_ptr<uint8_t>();
    span.nested_absmax = q.nested_absmax.const_data_ptr<float>();
    span.nested_offset = q.nested_offset;
  } else {
    span.absmax = q.absmax.const_data_ptr<float>();
  }
  return span;
}

// Threads take whole blocks, counted from the block that holds the first element.
template <class Out>
void dequantize_parallel(const DequantizeSpan& span, int64_t begin, int64_t end, Out* out) {
  const Isa isa = best_isa();
  const int64_t first = begin / span.blocksize, last = (end + span.blocksize - 1) / span.blocksize;
  at::parallel_for(first, last, kGrainElements / span.blocksize, [&](int64_t block_begin, int64_t block_end) {
    const int64_t from = std::max(begin, block_begin * span.blocksize);
    const int64_t to = std::min(end, block_end * span.blocksize);
    dequantize_cpu(span, from, to, out + (from - begin), isa);
  });
}

void quantize_scales(const Tensor& absmax, QuantizedWeight& q) {
  const int64_t blocks = absmax.numel(), nested = (blocks + kNestedBlocksize - 1) / kNestedBlocksize;
  const float* scales = absmax.const_data_ptr<float>();
  q.nested_offset = mean_scale_cpu(scales, blocks);
  q.absmax_codes = at::empty({blocks}, at::kByte);
  q.nested_absmax = at::empty({nested}, at::kFloat);
  uint8_t* codes = q.absmax_codes.mutable_data_ptr<uint8_t>();
  float* nested_absmax = q.nested_absmax.mutable_data_ptr<float>();
  at::parallel_for(0, nested, 16, [&](int64_t begin, int64_t end) {
    quantize_scales_cpu(scales, blocks, q.nested_offset, begin, end, codes, nested_absmax);
  });
}

void keep_smallest(std::atomic<int64_t>& smallest, int64_t value) {
  int64_t seen = smallest.load();
  while (value < seen && !smallest.compare_exchange_weak(seen, value)) {
  }
}

}  // namespace

void check_blocksize(int64_t blocksize) {
  if (blocksize < kSmallestBlocksize || blocksize > kLargestBlocksize || (blocksize & (blocksize - 1)) != 0) {
    throw ConfigError(fmt::format("block size {} is not a power of two in {}..{}; 64 is usual", blocksize,
                                  kSmallestBlocksize, kLargestBlocksize));
  }
}

QuantizedWeight quantize(const Tensor& weight, const QuantConfig& config) {
  check_blocksize(config.blocksize);
  if (!weight.defined() || weight.dim() != 2 || weight.numel() == 0) {
    refuse("quantize: a weight of shape {}; expected [Out, In], not empty",
           weight.defined() ? shape_text(weight) : "undefined");
  }
  expect_cpu(weight, "quantize: the weight");
  QuantizedWeight q;
  q.config = config;
  q.out = weight.size(0);
  q.in = weight.size(1);
  q.codes = at::empty({(q.numel() + 1) / 2}, at::kByte);
  const Tensor absmax = at::empty({q.blocks()}, at::kFloat);

  QuantizeSpan span;
  span.type = config.type;
  span.element = element_type(weight);
  span.blocksize = config.blocksize;
  span.numel = q.numel();
  span.weight = weight.const_data_ptr();
  span.codes = q.codes.mutable_data_ptr<uint8_t>();
  span.absmax = absmax.mutable_data_ptr<float>();
  const Isa isa = best_isa();
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> bad_block{kNone};
  at::parallel_for(0, q.blocks(), kGrainElements / config.blocksize, [&](int64_t begin, int64_t end) {
    const int64_t bad = quantize_blocks_cpu(span, begin, end, isa);
    if (bad >= 0) keep_smallest(bad_block, bad);
  });
  if (bad_block != kNone) {
    const int64_t index = find_not_finite_cpu(span, bad_block);
    refuse("quantize: weight[{}, {}] (flat index {}) is {}, which no scale can represent; the file is damaged or the "
           "model diverged", index / q.in, index % q.in, index, weight.flatten()[index].item<float>());
  }
  if (config.double_quant) {
    quantize_scales(absmax, q);
  } else {
    q.absmax = absmax;
  }
  return q;
}

void dequantize_rows_into(const QuantizedWeight& q, int64_t row_begin, int64_t row_end, const Tensor& into) {
  check_parts(q);
  if (row_begin < 0 || row_begin > row_end || row_end > q.out) {
    refuse("dequantize: rows {}..{} of a weight with {} rows", row_begin, row_end, q.out);
  }
  if (!into.defined() || into.dim() != 2 || into.size(0) != row_end - row_begin || into.size(1) != q.in) {
    refuse("dequantize: the output has shape {}; expected [{}, {}]", into.defined() ? shape_text(into) : "undefined",
           row_end - row_begin, q.in);
  }
  expect_cpu(into, "dequantize: the output");
  const DequantizeSpan span = span_of(q);
  const int64_t begin = row_begin * q.in, end = row_end * q.in;
  if (into.scalar_type() == at::kFloat) {
    dequantize_parallel(span, begin, end, into.mutable_data_ptr<float>());
  } else if (into.scalar_type() == at::kBFloat16) {
    dequantize_parallel(span, begin, end, reinterpret_cast<uint16_t*>(into.mutable_data_ptr<at::BFloat16>()));
  } else {
    refuse("dequantize: an output of dtype {}; give float or bfloat16", at::toString(into.scalar_type()));
  }
}

void dequantize_into(const QuantizedWeight& q, const Tensor& into) { dequantize_rows_into(q, 0, q.out, into); }

Tensor dequantize(const QuantizedWeight& q, at::ScalarType dtype) {
  check_parts(q);  // before allocating by what a file says
  Tensor into = at::empty({q.out, q.in}, dtype);
  dequantize_into(q, into);
  return into;
}

void validate(const QuantizedWeight& q) {
  check_parts(q);
  constexpr float kLargest = std::numeric_limits<float>::max();
  if (!q.config.double_quant) return check_finite(q.absmax, "absmax", kLargest);
  // A rebuilt scale is at most nested absmax + |offset|: both finite is not enough, their sum must be.
  if (!(std::fabs(q.nested_offset) <= kLargest)) {
    refuse("quantized weight: nested offset = {}, which no scale can be; the file is damaged", q.nested_offset);
  }
  check_finite(q.nested_absmax, "nested absmax", kLargest - std::fabs(q.nested_offset));
}

}  // namespace nibble::quant
