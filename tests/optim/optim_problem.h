// Random parameters with fresh gradients at every step, for tests of whole optimizers.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "core/rng.h"
#include "optim/optimizer.h"
#include "tensor/torch.h"

namespace nibble::optim::test {

inline Tensor random_tensor(at::IntArrayRef shape, uint64_t number, at::ScalarType dtype = at::kFloat) {
  Tensor t = at::empty(shape, at::kFloat);
  auto* values = t.data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    values[i] = random_uniform({2, RngPurpose::kTest, number}, static_cast<uint64_t>(i)) - 0.5f;
  }
  return t.to(dtype);
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

inline std::map<std::string, Tensor> state_of(const Optimizer& optimizer) {
  std::map<std::string, Tensor> state;
  optimizer.each_state([&](const std::string& name, const Tensor& t) { state.emplace(name, t.clone()); });
  return state;
}

// Parameters in four layers, small ones, ragged ones, one of several chunks, and enough for 8-bit state in some.
struct Problem {
  std::vector<ParamRef> params;

  explicit Problem(at::ScalarType dtype) {
    const std::vector<std::vector<int64_t>> shapes{{16, 576}, {33}, {7, 50}, {20000}, {1}, {4096}, {4097}, {65, 64}};
    for (size_t i = 0; i < shapes.size(); ++i) {
      params.push_back({"layer." + std::to_string(i) + ".lora_A.weight", random_tensor(shapes[i], i, dtype),
                        at::zeros(shapes[i], at::kFloat), static_cast<int64_t>(i / 2)});
    }
  }
  void fill_gradients(int64_t step) {
    for (size_t i = 0; i < params.size(); ++i) {
      params[i].grad.copy_(random_tensor(params[i].grad.sizes(), 100 * static_cast<uint64_t>(step + 1) + i));
    }
  }
  void train(Optimizer& optimizer, int64_t from, int64_t to) {
    for (int64_t step = from; step < to; ++step) {
      fill_gradients(step);
      optimizer.step(1e-2, 4, 20.0);  // norms per token are about 24: some of them are clipped
    }
  }
};

inline constexpr Optim kAllOptims[] = {Optim::kAdamwTorch, Optim::kAdamw8bit,  Optim::kPagedAdamw32bit, Optim::kPagedAdamw8bit,
                                       Optim::kLion32bit,  Optim::kLion8bit,   Optim::kPagedLion32bit,  Optim::kPagedLion8bit};

inline OptimizerConfig config_of(Optim optim) { return {{0.9, 0.99, 1e-8, 0.05}, optim}; }

}  // namespace nibble::optim::test
