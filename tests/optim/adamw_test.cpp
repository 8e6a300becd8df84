#include "optim/adamw.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <stdexcept>

#include "core/rng.h"
#include "tests/support/golden_tensors.h"

namespace nibble::optim {
namespace {

Tensor random_tensor(at::IntArrayRef shape, uint64_t number, at::ScalarType dtype = at::kFloat) {
  Tensor t = at::empty(shape, at::kFloat);
  auto* values = t.data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    values[i] = random_uniform({2, RngPurpose::kTest, number}, static_cast<uint64_t>(i)) - 0.5f;
  }
  return t.to(dtype);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

std::map<std::string, Tensor> state_of(const AdamW& adamw) {
  std::map<std::string, Tensor> state;
  adamw.each_state([&](const std::string& name, const Tensor& t) { state.emplace(name, t); });
  return state;
}

double largest(const Tensor& t) { return t.abs().max().item<double>(); }

// A small set of parameters with fresh random gradients at every step.
struct Problem {
  std::vector<ParamRef> params;

  explicit Problem(at::ScalarType dtype) {
    const std::vector<std::vector<int64_t>> shapes{{16, 576}, {33}, {7, 50}, {70000}, {1}};
    for (size_t i = 0; i < shapes.size(); ++i) {
      params.push_back({"layer." + std::to_string(i) + ".lora_A.weight", random_tensor(shapes[i], i, dtype),
                        at::zeros(shapes[i], at::kFloat)});
    }
  }
  void fill_gradients(int64_t step) {
    for (size_t i = 0; i < params.size(); ++i) {
      params[i].grad.copy_(random_tensor(params[i].grad.sizes(), 100 * static_cast<uint64_t>(step + 1) + i));
    }
  }
  void train(AdamW& adamw, int64_t from, int64_t to) {
    for (int64_t step = from; step < to; ++step) {
      fill_gradients(step);
      adamw.step(1e-2, 0.25f);
    }
  }
};

const AdamWConfig kConfig{0.9, 0.999, 1e-8, 0.05};

TEST(AdamW, FollowsTheTorchTrajectory) {
  const auto problem = test::golden_tensors("optim/problem.safetensors");
  const auto expected = test::golden_tensors("optim/adamw_fp32.safetensors");
  std::vector<ParamRef> params;
  for (const char* name : {"a", "b", "c"}) {
    const Tensor& p = problem.at(std::string(name) + ".p");
    params.push_back({name, p.clone(), at::zeros(p.sizes(), at::kFloat)});
  }
  AdamW adamw(kConfig, params);  // optim/hyper.json
  for (int64_t step = 0; step < 20; ++step) {
    for (ParamRef& p : params) p.grad.copy_(problem.at(p.name + ".g").select(0, step));
    adamw.step(0.01, 1.0f);
    const auto state = state_of(adamw);
    for (const ParamRef& p : params) {
      const auto golden = [&](const char* part) { return expected.at(p.name + part).select(0, step); };
      // Tolerances of the goldens' README: p 2e-6 absolute, m 1e-6 of its largest element, v 2e-6 relative.
      EXPECT_LE(largest(p.param - golden(".p")), 2e-6) << p.name << " step " << step;
      EXPECT_LE(largest(state.at(p.name + ".exp_avg") - golden(".m")), 1e-6 * largest(golden(".m")));
      EXPECT_TRUE(((state.at(p.name + ".exp_avg_sq") - golden(".v")).abs() <= 2e-6 * golden(".v")).all().item<bool>());
      EXPECT_TRUE(same_bits(p.param, state.at(p.name + ".master").contiguous()));
    }
  }
  EXPECT_EQ(adamw.steps(), 20);
}

TEST(AdamW, Bf16ParameterIsTheRoundedMaster) {
  Problem problem(at::kBFloat16);
  AdamW adamw(kConfig, problem.params);
  problem.train(adamw, 0, 3);
  const auto state = state_of(adamw);
  for (const ParamRef& p : problem.params) {
    EXPECT_TRUE(same_bits(p.param, state.at(p.name + ".master").to(at::kBFloat16))) << p.name;
  }
}

TEST(AdamW, MastersKeepWhatBf16WouldLose) {
  // 1e-4 a step is below half a bf16 unit at 1.0 (2^-9): without a master the parameter would never move.
  const Tensor param = at::ones({64}, at::kBFloat16), grad = at::ones({64}, at::kFloat);
  AdamW adamw({0.9, 0.999, 1e-8, 0.0}, {{"p", param, grad}});
  for (int i = 0; i < 100; ++i) adamw.step(1e-4, 1.0f);
  EXPECT_NEAR(param[0].item<double>(), 0.99, 0x1p-9);  // (a) 100 equal steps of lr, then half a bf16 unit below 1
}

TEST(AdamW, DoesNotDependOnTheNumberOfThreads) {
  const int before = at::get_num_threads();
  std::vector<std::map<std::string, Tensor>> states;
  for (const int threads : {1, 2, 5}) {
    at::set_num_threads(threads);
    Problem problem(at::kBFloat16);
    AdamW adamw(kConfig, problem.params);
    problem.train(adamw, 0, 4);
    states.push_back(state_of(adamw));
  }
  at::set_num_threads(before);
  for (const auto& [name, tensor] : states[0]) {
    EXPECT_TRUE(same_bits(tensor, states[1].at(name)) && same_bits(tensor, states[2].at(name))) << name;
  }
}

TEST(AdamW, ContinuesBitForBitFromCopiedState) {
  Problem whole(at::kBFloat16);
  AdamW uninterrupted(kConfig, whole.params);
  whole.train(uninterrupted, 0, 4);
  std::map<std::string, Tensor> saved;
  uninterrupted.each_state([&](const std::string& name, const Tensor& t) { saved.emplace(name, t.clone()); });
  whole.train(uninterrupted, 4, 9);

  Problem second(at::kBFloat16);
  for (ParamRef& p : second.params) p.param.zero_();  // parameters come back from the masters
  AdamW resumed(kConfig, second.params);
  resumed.each_state([&](const std::string& name, const Tensor& t) { t.copy_(saved.at(name)); });
  resumed.restored(4);
  second.train(resumed, 4, 9);

  const auto expected = state_of(uninterrupted), actual = state_of(resumed);
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(same_bits(tensor, actual.at(name))) << name;
  for (size_t i = 0; i < whole.params.size(); ++i) {
    EXPECT_TRUE(same_bits(whole.params[i].param, second.params[i].param));
  }
  EXPECT_EQ(resumed.steps(), 9);
}

TEST(AdamW, NamesItsStateAndLaysItOutParameterByParameter) {
  const Tensor a = at::zeros({2, 3}, at::kBFloat16), b = at::zeros({4}, at::kFloat);
  AdamW adamw(kConfig, {{"x.lora_A.weight", a, at::zeros({2, 3}, at::kFloat)},
                        {"x.lora_B.weight", b, at::zeros({4}, at::kFloat)}});
  std::vector<std::string> names;
  std::vector<const float*> places;
  adamw.each_state([&](const std::string& name, const Tensor& t) {
    names.push_back(name);
    places.push_back(t.const_data_ptr<float>());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 64, 0u);
  });
  EXPECT_EQ(names, (std::vector<std::string>{"x.lora_A.weight.master", "x.lora_A.weight.exp_avg",
                                             "x.lora_A.weight.exp_avg_sq", "x.lora_B.weight.master",
                                             "x.lora_B.weight.exp_avg", "x.lora_B.weight.exp_avg_sq"}));
  for (size_t i = 1; i < places.size(); ++i) EXPECT_EQ(places[i] - places[i - 1], 16);
  EXPECT_EQ(adamw.state_bytes(), 6 * 64);
}

TEST(AdamW, RefusesWhatItCannotUpdate) {
  const Tensor grad = at::zeros({4}, at::kFloat);
  const auto make = [](const Tensor& p, const Tensor& g) { AdamW({}, {{"p", p, g}}); };
  EXPECT_THROW(make(at::zeros({4}, at::kHalf), grad), std::invalid_argument);
  EXPECT_THROW(make(at::zeros({5}, at::kFloat), grad), std::invalid_argument);
  EXPECT_THROW(make(at::zeros({4}, at::kFloat), grad.to(at::kBFloat16)), std::invalid_argument);
  EXPECT_THROW(make(at::zeros({2, 4}, at::kFloat).select(1, 0), at::zeros({2}, at::kFloat)), std::invalid_argument);
  EXPECT_THROW(make(Tensor(), grad), std::invalid_argument);
  const Tensor p = at::zeros({4}, at::kFloat);
  EXPECT_THROW(AdamW({}, {{"p", p, grad}, {"p", p, grad}}), std::invalid_argument);
  AdamW adamw({}, {{"p", p, grad}});
  EXPECT_THROW(adamw.restored(-1), std::invalid_argument);
}

TEST(AdamW, WithoutParametersStillCounts) {
  AdamW adamw({}, {});
  adamw.step(1e-3, 1.0f);
  EXPECT_EQ(adamw.steps(), 1);
  EXPECT_EQ(adamw.state_bytes(), 0);
}

}  // namespace
}  // namespace nibble::optim
