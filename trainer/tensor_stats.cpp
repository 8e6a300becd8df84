#include "trainer/tensor_stats.h"

#include "gpu/runtime_table.h"

namespace nibble::trainer {
namespace {

Tensor on_host(const Tensor& tensor, const nn::Place& place) {
  if (place.queue) place.queue.module->runtime->synchronize(place.queue.stream);
  return tensor.to(at::kCPU).contiguous();
}

// All ones in the exponent: infinite or NaN.
template <class Bits>
bool none_has(const void* values, int64_t count, Bits exponent) {
  const auto* const bits = static_cast<const Bits*>(values);
  Bits found = 0;
  for (int64_t i = 0; i < count; ++i) found |= static_cast<Bits>((bits[i] & exponent) == exponent);
  return found == 0;
}

}  // namespace

void TensorStats::add(const TensorStats& other) {
  count += other.count;
  non_finite += other.non_finite;
  square_sum += other.square_sum;
}

TensorStats tensor_stats(const Tensor& tensor, const nn::Place& place) {
  const Tensor values = on_host(tensor, place).to(at::kFloat);
  const float* const value = values.const_data_ptr<float>();
  TensorStats stats;
  stats.count = values.numel();
  for (int64_t i = 0; i < stats.count; ++i) {
    if (std::isfinite(value[i])) {
      stats.square_sum += static_cast<double>(value[i]) * static_cast<double>(value[i]);
    } else if (stats.non_finite++ == 0) {
      stats.first_non_finite = i;
    }
  }
  return stats;
}

bool all_finite(const Tensor& tensor, const nn::Place& place) {
  const Tensor values = on_host(tensor, place);
  switch (values.scalar_type()) {
    case at::kBFloat16: return none_has<uint16_t>(values.const_data_ptr(), values.numel(), 0x7F80);
    case at::kFloat: return none_has<uint32_t>(values.const_data_ptr(), values.numel(), 0x7F800000);
    default: return tensor_stats(values, {}).non_finite == 0;
  }
}

}  // namespace nibble::trainer
