// Units: optim/optimizer, optim/adamw_cpu. Trajectories of torch's AdamW and of bitsandbytes' 8-bit CUDA kernel.
#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include "tests/optim/optim_problem.h"
#include "tests/support/golden_tensors.h"

namespace nibble::optim {
namespace {

using nibble::test::golden_tensors;
using test::same_bits;
using test::state_of;

const UpdateConfig kHyper{0.9, 0.999, 1e-8, 0.05};  // optim/hyper.json; the rate is 0.01
constexpr int64_t kMin8BitElements = 256;
constexpr int64_t kSteps = 20;

double largest(const Tensor& t) { return t.abs().max().item<double>(); }

std::vector<ParamRef> params_of(const std::map<std::string, Tensor>& problem) {
  std::vector<ParamRef> params;
  for (const char* name : {"a", "b", "c"}) {
    const Tensor& p = problem.at(std::string(name) + ".p");
    params.push_back({name, p.clone(), at::zeros(p.sizes(), at::kFloat)});
  }
  return params;
}

TEST(OptimizerGolden, AdamwTorchFollowsTorch) {
  const auto problem = golden_tensors("optim/problem.safetensors");
  const auto expected = golden_tensors("optim/adamw_fp32.safetensors");
  std::vector<ParamRef> params = params_of(problem);
  Optimizer adamw({kHyper, Optim::kAdamwTorch}, params);
  for (int64_t step = 0; step < kSteps; ++step) {
    for (ParamRef& p : params) p.grad.copy_(problem.at(p.name + ".g").select(0, step));
    adamw.step(0.01, /*trained_tokens=*/1, /*max_grad_norm=*/0.0);
    const auto state = state_of(adamw);
    for (const ParamRef& p : params) {
      const auto golden = [&](const char* part) { return expected.at(p.name + part).select(0, step); };
      // Tolerances of the goldens' README: p 2e-6 absolute, m 1e-6 of its largest element, v 2e-6 relative.
      EXPECT_LE(largest(p.param - golden(".p")), 2e-6) << p.name << " step " << step;
      EXPECT_LE(largest(state.at(p.name + ".exp_avg") - golden(".m")), 1e-6 * largest(golden(".m")));
      EXPECT_TRUE(((state.at(p.name + ".exp_avg_sq") - golden(".v")).abs() <= 2e-6 * golden(".v")).all().item<bool>());
      EXPECT_TRUE(same_bits(p.param, state.at(p.name + ".master")));
    }
  }
  EXPECT_EQ(adamw.steps(), kSteps);
}

// The stored name of a state tensor: "a.exp_avg_absmax" is "a.absmax_m".
std::string golden_name(const std::string& name) {
  const std::string parameter = name.substr(0, 1), part = name.substr(1);
  if (part == ".master") return parameter + ".p";
  if (part == ".exp_avg") return parameter + ".m";
  if (part == ".exp_avg_sq") return parameter + ".v";
  if (part == ".exp_avg_absmax") return parameter + ".absmax_m";
  return parameter + ".absmax_v";
}

// Codes are equal or, rarely, neighbours; where a block's scale is 0 they mean nothing. Returns how many are neighbours.
int64_t compare_codes(const Tensor& actual, const Tensor& expected, const Tensor& absmax, const std::string& what) {
  const Tensor a = actual.flatten().to(at::kInt), e = expected.flatten().to(at::kInt);
  int64_t neighbours = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (absmax[i / kMomentBlock].item<float>() == 0.0f) continue;
    const int gap = std::abs(a[i].item<int>() - e[i].item<int>());
    EXPECT_LE(gap, 1) << what << " element " << i;
    neighbours += gap;
  }
  return neighbours;
}

// One step at a time, each from the stored state: a code that differs does not add up.
TEST(OptimizerGolden, Adamw8bitFollowsTheCudaKernel) {
  const auto problem = golden_tensors("optim/problem.safetensors");
  const auto expected = golden_tensors("optim/adamw_8bit_cuda_reference.safetensors");
  int64_t neighbours = 0, codes = 0;
  for (int64_t step = 0; step < kSteps; ++step) {
    std::vector<ParamRef> params = params_of(problem);
    Optimizer adamw({kHyper, Optim::kAdamw8bit, kMin8BitElements}, params);
    if (step > 0) {
      adamw.restore(step, [&](const std::string& name, const Tensor& t) {
        t.copy_(expected.at(golden_name(name)).select(0, step - 1));
      });
    }
    for (ParamRef& p : params) p.grad.copy_(problem.at(p.name + ".g").select(0, step));
    adamw.step(0.01, /*trained_tokens=*/1, /*max_grad_norm=*/0.0);
    const auto state = state_of(adamw);
    for (const auto& [name, actual] : state) {
      const std::string what = name + " step " + std::to_string(step);
      const Tensor golden = expected.at(golden_name(name)).select(0, step);
      if (name.ends_with(".master")) {
        EXPECT_LE(largest(actual - golden), 2e-6) << what;  // tolerances of the goldens' README, as below
      } else if (actual.scalar_type() == at::kByte) {
        neighbours += compare_codes(actual, golden, state.at(name + "_absmax"), what);
        codes += actual.numel();
      } else {
        EXPECT_TRUE(((actual - golden).abs() <= 1e-6 * largest(golden)).all().item<bool>()) << what;
      }
    }
  }
  EXPECT_GT(codes, 40'000);
  EXPECT_LE(neighbours, codes / 1000);
}

}  // namespace
}  // namespace nibble::optim
