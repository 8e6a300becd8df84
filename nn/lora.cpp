#include "nn/lora.h"

#include <cmath>

#include "tensor/shape.h"

namespace nibble::nn {
namespace {

Tensor kaiming_uniform(int64_t rank, int64_t in, uint64_t seed, uint64_t number) {
  Tensor a = at::empty({rank, in}, at::kFloat);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  const RngKey key{seed, RngPurpose::kAdapterInit, number};
  float* values = a.mutable_data_ptr<float>();
  constexpr int64_t kGrain = 4096;  // numbers that are worth a thread
  at::parallel_for(0, rank * in, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      values[i] = static_cast<float>((2.0 * random_uniform(key, static_cast<uint64_t>(i)) - 1.0) * bound);
    }
  });
  return a;
}

}  // namespace

float LoraConfig::scale() const {
  const auto rank = static_cast<double>(r);
  return static_cast<float>(use_rslora ? alpha / std::sqrt(rank) : alpha / rank);
}

uint64_t lora_number(int64_t layer, Projection p) {
  return static_cast<uint64_t>(layer * kProjections + static_cast<int64_t>(p));
}

void set_lora(Linear& linear, const Tensor& a, const Tensor& b, float scale, float dropout, uint64_t number,
              at::ScalarType dtype) {
  const int64_t rank = a.size(0);
  tensor::expect_shape(a, {rank, linear.weight.in()}, "lora_A");
  tensor::expect_shape(b, {linear.weight.out(), rank}, "lora_B");
  Lora lora;
  // Copies of its own where the weight is, contiguous: the optimizer writes into them.
  const auto options = at::TensorOptions().dtype(dtype).device(linear.weight.device());
  lora.a = a.to(options, /*non_blocking=*/false, /*copy=*/true).contiguous();
  lora.b = b.to(options, /*non_blocking=*/false, /*copy=*/true).contiguous();
  lora.da = at::zeros_like(lora.a, at::kFloat);
  lora.db = at::zeros_like(lora.b, at::kFloat);
  lora.scale = scale;
  lora.dropout = dropout;
  lora.number = number;
  linear.lora = std::move(lora);
}

void attach_lora(Model& model, const LoraConfig& config, uint64_t seed) {
  for (int64_t l = 0; l < static_cast<int64_t>(model.layers.size()); ++l) {
    for (Projection p : config.targets) {
      Linear& linear = model.layers[static_cast<size_t>(l)].projection(p);
      const uint64_t number = lora_number(l, p);
      set_lora(linear, kaiming_uniform(config.r, linear.weight.in(), seed, number),
               at::zeros({linear.weight.out(), config.r}, at::kFloat), config.scale(), static_cast<float>(config.dropout),
               number, model.dtype);
    }
  }
}

void zero_gradients(Model& model) {
  model.each_lora([](const std::string&, Lora& lora) {
    lora.da.zero_();
    lora.db.zero_();
  });
}

}  // namespace nibble::nn
