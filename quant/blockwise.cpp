#include "quant/blockwise.h"

#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <stdexcept>

#include "core/error.h"
#include "quant/blockwise_cpu.h"
#include "quant/blockwise_math.h"

namespace nibble::quant {
namespace {

constexpr int64_t kGrainValues = 1 << 16;

int64_t grain(int64_t blocksize) { return std::max<int64_t>(1, kGrainValues / blocksize); }

Element element_of(const Tensor& weight) {
  switch (weight.scalar_type()) {
    case at::kFloat: return Element::kF32;
    case at::kBFloat16: return Element::kBf16;
    case at::kHalf: return Element::kF16;
    default: throw std::invalid_argument(fmt::format("a weight of dtype {} cannot be quantized", c10::toString(weight.scalar_type())));
  }
}

void check_config(const QuantConfig& config) {
  const int64_t b = config.blocksize;
  if (b < 32 || b > 4096 || (b & (b - 1)) != 0) {
    throw ConfigError(fmt::format("a block size of {} is not a power of two in 32..4096", b));
  }
}

// The mean of all scales, in a fixed order: fp64 sums.
float mean(const float* values, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += values[i];
  return static_cast<float>(sum / static_cast<double>(n));
}

// Scales to 8-bit codes of (scale - offset), in blocks of 256 with a scale of their own.
void compress_absmax(QuantizedWeight& q) {
  const int64_t blocks = q.blocks(), nested = (blocks + kNestedBlocksize - 1) / kNestedBlocksize;
  const float* absmax = q.absmax.const_data_ptr<float>();
  q.nested_offset = mean(absmax, blocks);
  q.absmax_codes = at::empty({blocks}, at::kByte);
  q.nested_absmax = at::empty({nested}, at::kFloat);
  uint8_t* codes = q.absmax_codes.mutable_data_ptr<uint8_t>();
  for (int64_t b = 0; b < nested; ++b) {
    const int64_t begin = b * kNestedBlocksize, end = std::min(begin + kNestedBlocksize, blocks);
    float largest = 0.0f;
    for (int64_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(absmax[i] - q.nested_offset));
    q.nested_absmax.mutable_data_ptr<float>()[b] = largest;
    const float inverse = 1.0f / largest;
    for (int64_t i = begin; i < end; ++i) codes[i] = dynamic_code((absmax[i] - q.nested_offset) * inverse, kDynamicMapSigned.data());
  }
  q.absmax = Tensor();
}

// The scales of blocks [begin, end) in fp32.
void decode_absmax(const QuantizedWeight& q, int64_t begin, int64_t end, float* out) {
  const uint8_t* codes = q.absmax_codes.const_data_ptr<uint8_t>();
  const float* nested = q.nested_absmax.const_data_ptr<float>();
  for (int64_t b = begin; b < end; ++b) out[b - begin] = nested_absmax_value(codes[b], nested[b / kNestedBlocksize], q.nested_offset);
}

// Calls decode(absmax of the range, range), threads side by side. `absmax` is indexed by block number.
template <class Decode>
void decode_blocks(const QuantizedWeight& q, int64_t block_begin, int64_t block_end, const Decode& decode) {
  at::parallel_for(block_begin, block_end, grain(q.config.blocksize), [&](int64_t begin, int64_t end) {
    if (!q.config.double_quant) {
      decode(q.absmax.const_data_ptr<float>(), BlockRange{q.numel(), q.config.blocksize, begin, end});
      return;
    }
    constexpr int64_t kAtOnce = 512;
    float absmax[kAtOnce];
    for (int64_t b = begin; b < end; b += kAtOnce) {
      const int64_t stop = std::min(b + kAtOnce, end);
      decode_absmax(q, b, stop, absmax);
      decode(absmax - b, BlockRange{q.numel(), q.config.blocksize, b, stop});
    }
  });
}

void expect_size(const Tensor& t, int64_t n, at::ScalarType dtype, const char* what) {
  if (!t.defined() || t.numel() != n || t.scalar_type() != dtype || !t.is_contiguous()) {
    throw std::invalid_argument(fmt::format("{} has {} entries of {}, expected {} of {}", what, t.defined() ? t.numel() : 0,
                                            t.defined() ? c10::toString(t.scalar_type()) : "nothing", n, c10::toString(dtype)));
  }
}

void expect_finite(const Tensor& t, const char* what) {
  const float* values = t.const_data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    if (!std::isfinite(values[i])) throw std::invalid_argument(fmt::format("{}[{}] is {}", what, i, values[i]));
  }
}

void check_parts(const QuantizedWeight& q) {
  if (q.out < 0 || q.in < 0) throw std::invalid_argument("a quantized weight has a negative size");
  expect_size(q.codes, (q.numel() + 1) / 2, at::kByte, "codes");
  if (q.config.double_quant) {
    expect_size(q.absmax_codes, q.blocks(), at::kByte, "absmax codes");
    expect_size(q.nested_absmax, (q.blocks() + kNestedBlocksize - 1) / kNestedBlocksize, at::kFloat, "nested absmax");
  } else {
    expect_size(q.absmax, q.blocks(), at::kFloat, "absmax");
  }
}

}  // namespace

int64_t QuantizedWeight::bytes() const {
  int64_t sum = 0;
  for (const Tensor* t : {&codes, &absmax, &absmax_codes, &nested_absmax}) {
    if (t->defined()) sum += static_cast<int64_t>(t->nbytes());
  }
  return sum;
}

QuantizedWeight quantize(const Tensor& weight, const QuantConfig& config) {
  check_config(config);
  if (weight.dim() != 2) throw std::invalid_argument(fmt::format("a weight has {} dimensions, expected 2", weight.dim()));
  const Tensor source = weight.contiguous();
  QuantizedWeight q;
  q.config = config;
  q.out = weight.size(0);
  q.in = weight.size(1);
  q.codes = at::empty({(q.numel() + 1) / 2}, at::kByte);
  q.absmax = at::empty({q.blocks()}, at::kFloat);
  const Element element = element_of(source);
  std::atomic<int64_t> bad{-1};
  at::parallel_for(0, q.blocks(), grain(config.blocksize), [&](int64_t begin, int64_t end) {
    const int64_t index = quantize_blocks(source.const_data_ptr(), element, config.type, {q.numel(), config.blocksize, begin, end},
                                          q.codes.mutable_data_ptr<uint8_t>(), q.absmax.mutable_data_ptr<float>());
    if (index < 0) return;
    int64_t seen = bad.load();
    while ((seen < 0 || index < seen) && !bad.compare_exchange_weak(seen, index)) {
    }
  });
  if (bad >= 0) {
    throw std::invalid_argument(fmt::format("value {} (row {}, column {}) is {}: no scale can represent it", bad.load(), bad / q.in,
                                            bad % q.in, source.view({-1})[bad.load()].item<float>()));
  }
  if (config.double_quant) compress_absmax(q);
  return q;
}

void dequantize_into(const QuantizedWeight& q, const Tensor& into) {
  check_parts(q);
  if (into.dim() != 2 || into.size(0) != q.out || into.size(1) != q.in || !into.is_contiguous()) {
    throw std::invalid_argument(fmt::format("cannot decode a weight of [{}, {}] into another shape", q.out, q.in));
  }
  const Isa isa = best_isa();
  const uint8_t* codes = q.codes.const_data_ptr<uint8_t>();
  if (into.scalar_type() == at::kBFloat16) {
    auto* out = static_cast<uint16_t*>(into.data_ptr());
    decode_blocks(q, 0, q.blocks(), [&](const float* absmax, const BlockRange& range) {
      dequantize_blocks_bf16(codes, absmax, q.config.type, range, out, isa);
    });
  } else if (into.scalar_type() == at::kFloat) {
    auto* out = into.mutable_data_ptr<float>();
    decode_blocks(q, 0, q.blocks(), [&](const float* absmax, const BlockRange& range) {
      dequantize_blocks_f32(codes, absmax, q.config.type, range, out, isa);
    });
  } else {
    throw std::invalid_argument(fmt::format("cannot decode a weight into {}", c10::toString(into.scalar_type())));
  }
}

Tensor dequantize(const QuantizedWeight& q, at::ScalarType dtype) {
  const Tensor into = at::empty({q.out, q.in}, at::TensorOptions().dtype(dtype));
  dequantize_into(q, into);
  return into;
}

void validate(const QuantizedWeight& q) {
  check_config(q.config);
  check_parts(q);
  if (q.config.double_quant) {
    expect_finite(q.nested_absmax, "nested absmax");
    if (!std::isfinite(q.nested_offset)) throw std::invalid_argument(fmt::format("nested offset is {}", q.nested_offset));
  } else {
    expect_finite(q.absmax, "absmax");
  }
}

}  // namespace nibble::quant
