#include "quant/blockwise.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "core/error.h"
#include "core/round_up.h"
#include "gpu/runtime_table.h"
#include "quant/blockwise_cpu.h"
#include "quant/cuda_table.h"

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

void expect_on(const Tensor& t, const char* name, at::Device device) {
  if (t.device() != device) refuse("{} is on device {}; expected {}", name, t.device().str(), device.str());
  if (!t.is_contiguous()) refuse("{} is not contiguous", name);
}

// A queue's tensors are all where its weight is; whether its stream belongs there, CUDA finds out.
at::Device device_for(const gpu::Queue& queue, const Tensor& weight) {
  return queue && weight.defined() ? weight.device() : at::Device(at::kCPU);
}

void expect_part(const Tensor& part, const char* name, at::ScalarType dtype, int64_t count, at::Device device) {
  if (!part.defined()) refuse("quantized weight: {} is missing; expected {} values", name, count);
  if (part.scalar_type() != dtype) {
    refuse("quantized weight: {} has dtype {}; expected {}", name, at::toString(part.scalar_type()), at::toString(dtype));
  }
  if (part.numel() != count) {
    refuse("quantized weight: {} has {} values; expected {}", name, part.numel(), count);
  }
  expect_on(part, name, device);
}

void check_parts(const QuantizedWeight& q, at::Device device = at::kCPU) {
  check_blocksize(q.config.blocksize);
  int64_t numel = 0;
  if (q.out <= 0 || q.in <= 0 || __builtin_mul_overflow(q.out, q.in, &numel) ||
      numel > std::numeric_limits<int64_t>::max() - kLargestBlocksize) {
    refuse("quantized weight: shape [{}, {}] is empty or too large", q.out, q.in);
  }
  expect_part(q.codes, "codes", at::kByte, numel / 2 + numel % 2, device);
  if (!q.config.double_quant) return expect_part(q.absmax, "absmax", at::kFloat, q.blocks(), device);
  const int64_t nested = ceil_div(q.blocks(), kNestedBlocksize);
  expect_part(q.absmax_codes, "absmax codes", at::kByte, q.blocks(), device);
  expect_part(q.nested_absmax, "nested absmax", at::kFloat, nested, device);
}

void check_finite(const Tensor& scales, const char* name, float largest_allowed) {
  const float* values = scales.const_data_ptr<float>();
  for (int64_t i = 0; i < scales.numel(); ++i) {
    if (!(std::fabs(values[i]) <= largest_allowed)) {
      refuse("quantized weight: {}[{}] = {}, which no scale can be; the file is damaged", name, i, values[i]);
    }
  }
}

DequantizeSpan unchecked_span(const QuantizedWeight& q) {
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

void expect_output(const Tensor& into, int64_t rows, int64_t columns, at::Device device) {
  if (!into.defined() || into.dim() != 2 || into.size(0) != rows || into.size(1) != columns) {
    refuse("dequantize: the output has shape {}; expected [{}, {}]", into.defined() ? shape_text(into) : "undefined", rows,
           columns);
  }
  expect_on(into, "dequantize: the output", device);
  if (into.scalar_type() != at::kFloat && into.scalar_type() != at::kBFloat16) {
    refuse("dequantize: an output of dtype {}; give float or bfloat16", at::toString(into.scalar_type()));
  }
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

void keep_smallest(std::atomic<int64_t>& smallest, int64_t value) {
  int64_t seen = smallest.load();
  while (value < seen && !smallest.compare_exchange_weak(seen, value)) {
  }
}

// Fills the parts of q on the CPU. Returns the first block that holds a value that is not finite, or -1.
int64_t quantize_here(const QuantizeSpan& span, QuantizedWeight& q) {
  const Isa isa = best_isa();
  const int64_t blocks = q.blocks();
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> bad_block{kNone};
  at::parallel_for(0, blocks, kGrainElements / span.blocksize, [&](int64_t begin, int64_t end) {
    const int64_t bad = quantize_blocks_cpu(span, begin, end, isa);
    if (bad >= 0) keep_smallest(bad_block, bad);
  });
  if (bad_block != kNone) return bad_block;
  if (!q.config.double_quant) return -1;
  q.nested_offset = mean_scale_cpu(span.absmax, blocks);
  uint8_t* codes = q.absmax_codes.mutable_data_ptr<uint8_t>();
  float* nested_absmax = q.nested_absmax.mutable_data_ptr<float>();
  at::parallel_for(0, q.nested_absmax.numel(), 16, [&](int64_t begin, int64_t end) {
    quantize_scales_cpu(span.absmax, blocks, q.nested_offset, begin, end, codes, nested_absmax);
  });
  return -1;
}

// As quantize_here, on the queue's device.
int64_t quantize_on(const gpu::Queue& queue, const QuantizeSpan& span, QuantizedWeight& q) {
  const Tensor workspace = at::empty({quantize_workspace_bytes(span.numel)}, q.codes.options());
  QuantizeLaunch launch;
  launch.span = span;
  launch.workspace = workspace.mutable_data_ptr();
  if (q.config.double_quant) {
    launch.absmax_codes = q.absmax_codes.mutable_data_ptr<uint8_t>();
    launch.nested_absmax = q.nested_absmax.mutable_data_ptr<float>();
  }
  queue.module->quant->quantize(launch, queue.stream);
  QuantizeReport report{};
  queue.module->runtime->copy(&report, launch.workspace, sizeof report, queue.stream);
  queue.module->runtime->synchronize(queue.stream);
  q.nested_offset = report.offset;
  return report.not_finite == 0 ? -1 : static_cast<int64_t>(~report.not_finite);
}

[[noreturn]] void refuse_not_finite(const Tensor& weight, int64_t blocksize, int64_t block) {
  const int64_t begin = block * blocksize, in = weight.size(1);
  const Tensor values = weight.flatten().narrow(0, begin, std::min(blocksize, weight.numel() - begin)).to(at::kCPU, at::kFloat);
  const float* v = values.const_data_ptr<float>();
  const int64_t place = std::find_if(v, v + values.numel(), [](float x) { return !std::isfinite(x); }) - v;
  const int64_t index = begin + place;
  refuse("quantize: weight[{}, {}] (flat index {}) is {}, which no scale can represent; the file is damaged or the "
         "model diverged", index / in, index % in, index, v[place]);
}

}  // namespace

void check_blocksize(int64_t blocksize) {
  if (blocksize < kSmallestBlocksize || blocksize > kLargestBlocksize || (blocksize & (blocksize - 1)) != 0) {
    throw ConfigError(fmt::format("block size {} is not a power of two in {}..{}; 64 is usual", blocksize,
                                  kSmallestBlocksize, kLargestBlocksize));
  }
}

QuantizedWeight quantize(const Tensor& weight, const QuantConfig& config, const gpu::Queue& queue) {
  check_blocksize(config.blocksize);
  if (!weight.defined() || weight.dim() != 2 || weight.numel() == 0) {
    refuse("quantize: a weight of shape {}; expected [Out, In], not empty",
           weight.defined() ? shape_text(weight) : "undefined");
  }
  expect_on(weight, "quantize: the weight", device_for(queue, weight));
  QuantizedWeight q;
  q.config = config;
  q.out = weight.size(0);
  q.in = weight.size(1);
  q.codes = at::empty({(q.numel() + 1) / 2}, weight.options().dtype(at::kByte));
  const Tensor absmax = at::empty({q.blocks()}, weight.options().dtype(at::kFloat));

  QuantizeSpan span;
  span.type = config.type;
  span.element = element_type(weight);
  span.blocksize = config.blocksize;
  span.numel = q.numel();
  span.weight = weight.const_data_ptr();
  span.codes = q.codes.mutable_data_ptr<uint8_t>();
  span.absmax = absmax.mutable_data_ptr<float>();
  if (config.double_quant) {
    q.absmax_codes = at::empty({q.blocks()}, q.codes.options());
    q.nested_absmax = at::empty({ceil_div(q.blocks(), kNestedBlocksize)}, absmax.options());
  } else {
    q.absmax = absmax;
  }
  const int64_t bad_block = queue ? quantize_on(queue, span, q) : quantize_here(span, q);
  if (bad_block >= 0) refuse_not_finite(weight, config.blocksize, bad_block);
  return q;
}

void dequantize_rows_into(const QuantizedWeight& q, int64_t row_begin, int64_t row_end, const Tensor& into) {
  check_parts(q);
  if (row_begin < 0 || row_begin > row_end || row_end > q.out) {
    refuse("dequantize: rows {}..{} of a weight with {} rows", row_begin, row_end, q.out);
  }
  expect_output(into, row_end - row_begin, q.in, at::kCPU);
  const DequantizeSpan span = unchecked_span(q);
  const int64_t begin = row_begin * q.in, end = row_end * q.in;
  if (into.scalar_type() == at::kFloat) {
    dequantize_parallel(span, begin, end, into.mutable_data_ptr<float>());
  } else {
    dequantize_parallel(span, begin, end, reinterpret_cast<uint16_t*>(into.mutable_data_ptr<at::BFloat16>()));
  }
}

void dequantize_into(const QuantizedWeight& q, const Tensor& into, const gpu::Queue& queue) {
  if (!queue) return dequantize_rows_into(q, 0, q.out, into);
  const at::Device device = device_for(queue, q.codes);
  check_parts(q, device);
  expect_output(into, q.out, q.in, device);
  DequantizeLaunch launch;
  launch.span = unchecked_span(q);
  launch.out = into.mutable_data_ptr();
  launch.out_is_bf16 = into.scalar_type() == at::kBFloat16;
  queue.module->quant->dequantize(launch, queue.stream);
}

Tensor dequantize(const QuantizedWeight& q, at::ScalarType dtype, const gpu::Queue& queue) {
  check_parts(q, device_for(queue, q.codes));  // before allocating by what a file says
  Tensor into = at::empty({q.out, q.in}, q.codes.options().dtype(dtype));
  dequantize_into(q, into, queue);
  return into;
}

DequantizeSpan span_of(const QuantizedWeight& q) {
  check_parts(q);
  return unchecked_span(q);
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
