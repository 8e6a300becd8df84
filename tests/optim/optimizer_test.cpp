// Units: optim/optimizer, optim/optimizer_config
#include "optim/optimizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "schema/enum_names.h"
#include "tests/optim/optim_problem.h"

namespace nibble::optim {
namespace {

using test::config_of;
using test::kAllOptims;
using test::Problem;
using test::same_bits;
using test::state_of;

std::string name_of(Optim optim) { return std::string(schema::enum_name(optim)); }

TEST(Optimizer, Bf16ParameterIsTheRoundedMaster) {
  for (const Optim optim : kAllOptims) {
    Problem problem(at::kBFloat16);
    Optimizer optimizer(config_of(optim), problem.params);
    problem.train(optimizer, 0, 3);
    const auto state = state_of(optimizer);
    for (const ParamRef& p : problem.params) {
      EXPECT_TRUE(same_bits(p.param, state.at(p.name + ".master").to(at::kBFloat16))) << name_of(optim) << " " << p.name;
    }
  }
}

TEST(Optimizer, MastersKeepWhatBf16WouldLose) {
  // 1e-4 a step is below half a bf16 unit at 1.0 (2^-9): without a master the parameter would never move.
  for (const Optim optim : kAllOptims) {
    const Tensor param = at::ones({64}, at::kBFloat16), grad = at::ones({64}, at::kFloat);
    Optimizer optimizer({{0.9, 0.999, 1e-8, 0.0}, optim}, {{"p", param, grad}});
    for (int i = 0; i < 100; ++i) optimizer.step(1e-4, 1, 0.0);
    // (a) 100 equal steps of lr, then half a bf16 unit below 1
    EXPECT_NEAR(param[0].item<double>(), 0.99, 0x1p-9) << name_of(optim);
  }
}

TEST(Optimizer, DoesNotDependOnTheNumberOfThreads) {
  const int before = at::get_num_threads();
  for (const Optim optim : {Optim::kAdamwTorch, Optim::kAdamw8bit, Optim::kLion8bit}) {
    std::vector<std::map<std::string, Tensor>> states;
    for (const int threads : {1, 2, 5}) {
      at::set_num_threads(threads);
      Problem problem(at::kBFloat16);
      Optimizer optimizer(config_of(optim), problem.params);
      problem.train(optimizer, 0, 4);
      states.push_back(state_of(optimizer));
    }
    for (const auto& [name, tensor] : states[0]) {
      EXPECT_TRUE(same_bits(tensor, states[1].at(name)) && same_bits(tensor, states[2].at(name))) << name;
    }
  }
  at::set_num_threads(before);
}

TEST(Optimizer, PagedNamesGiveTheNumbersOfTheOthers) {
  const std::pair<Optim, Optim> pairs[] = {{Optim::kAdamw8bit, Optim::kPagedAdamw8bit},
                                           {Optim::kLion32bit, Optim::kPagedLion32bit},
                                           {Optim::kLion8bit, Optim::kPagedLion8bit}};
  for (const auto& [plain, paged] : pairs) {
    EXPECT_FALSE(optimizer_kind(plain).paged);
    EXPECT_TRUE(optimizer_kind(paged).paged);
    std::vector<std::map<std::string, Tensor>> states;
    for (const Optim optim : {plain, paged}) {
      Problem problem(at::kBFloat16);
      Optimizer optimizer(config_of(optim), problem.params);
      problem.train(optimizer, 0, 3);
      states.push_back(state_of(optimizer));
    }
    for (const auto& [name, tensor] : states[0]) EXPECT_TRUE(same_bits(tensor, states[1].at(name))) << name;
  }
}

TEST(Optimizer, ContinuesBitForBitFromCopiedState) {
  for (const Optim optim : kAllOptims) {
    Problem whole(at::kBFloat16);
    Optimizer uninterrupted(config_of(optim), whole.params);
    whole.train(uninterrupted, 0, 4);
    const auto saved = state_of(uninterrupted);
    whole.train(uninterrupted, 4, 9);

    Problem second(at::kBFloat16);
    for (ParamRef& p : second.params) p.param.zero_();  // parameters come back from the masters
    Optimizer resumed(config_of(optim), second.params);
    resumed.restore(4, [&](const std::string& name, const Tensor& t) { t.copy_(saved.at(name)); });
    second.train(resumed, 4, 9);

    const auto expected = state_of(uninterrupted), actual = state_of(resumed);
    for (const auto& [name, tensor] : expected) EXPECT_TRUE(same_bits(tensor, actual.at(name))) << name_of(optim) << name;
    for (size_t i = 0; i < whole.params.size(); ++i) {
      EXPECT_TRUE(same_bits(whole.params[i].param, second.params[i].param)) << name_of(optim);
    }
    EXPECT_EQ(resumed.steps(), 9);
  }
}

TEST(Optimizer, NamesItsState) {
  const auto names_of = [](Optim optim) {
    OptimizerConfig config = config_of(optim);
    config.min_8bit_elements = 6;
    Optimizer optimizer(config, {{"a", at::zeros({2, 300}, at::kBFloat16), at::zeros({2, 300}, at::kFloat)},
                                 {"b", at::zeros({4}, at::kFloat), at::zeros({4}, at::kFloat)}});
    std::vector<std::string> names;
    for (const StateInfo& info : optimizer.state_info()) {
      names.push_back(fmt::format("{} {} {}", info.name, info.is_codes ? "u8" : "f32", fmt::join(info.shape, " ")));
    }
    std::vector<std::string> visited;
    optimizer.each_state([&](const std::string& name, const Tensor&) { visited.push_back(name); });
    EXPECT_EQ(visited.size(), names.size());
    return names;
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(names_of(Optim::kAdamwTorch), ElementsAre("a.master f32 2 300", "a.exp_avg f32 2 300", "a.exp_avg_sq f32 2 300",
                                                        "b.master f32 4", "b.exp_avg f32 4", "b.exp_avg_sq f32 4"));
  EXPECT_THAT(names_of(Optim::kPagedAdamw8bit),
              ElementsAre("a.master f32 2 300", "a.exp_avg u8 2 300", "a.exp_avg_absmax f32 3", "a.exp_avg_sq u8 2 300",
                          "a.exp_avg_sq_absmax f32 3", "b.master f32 4", "b.exp_avg f32 4", "b.exp_avg_sq f32 4"));
  EXPECT_THAT(names_of(Optim::kLion8bit), ElementsAre("a.master f32 2 300", "a.exp_avg u8 2 300", "a.exp_avg_absmax f32 3",
                                                      "b.master f32 4", "b.exp_avg f32 4"));
}

// As if the mean gradient, cut to its norm, had been given.
TEST(Optimizer, MeasuresAndClipsWhatItUpdatesWith) {
  Problem one(at::kFloat), two(at::kFloat);
  Optimizer clips(config_of(Optim::kAdamwTorch), one.params), is_given(config_of(Optim::kAdamwTorch), two.params);
  one.fill_gradients(0);
  two.fill_gradients(0);
  constexpr double kTokens = 3, kNorm = 0.5;
  double square_sum = 0;
  for (const ParamRef& p : two.params) square_sum += p.grad.to(at::kDouble).square().sum().item<double>();
  const double norm = std::sqrt(square_sum) / kTokens;
  EXPECT_GT(norm, 2 * kNorm);
  clips.step(1e-2, static_cast<int64_t>(kTokens), kNorm);
  // (b) fp64 sums of some hundred elements in another order.
  EXPECT_NEAR(clips.outcome().grad_norm, norm, 1e-12 * norm);
  const auto scale = static_cast<float>(kNorm / (clips.outcome().grad_norm + 1e-6) / kTokens);
  for (const ParamRef& p : two.params) Tensor(p.grad).mul_(scale);
  is_given.step(1e-2, 1, 0.0);
  for (size_t i = 0; i < one.params.size(); ++i) EXPECT_TRUE(same_bits(one.params[i].param, two.params[i].param));
}

TEST(Optimizer, AGradientThatIsNotFiniteChangesNothingFromThenOn) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Problem problem(at::kBFloat16);
    Optimizer optimizer(config_of(Optim::kAdamw8bit), problem.params);
    problem.train(optimizer, 0, 2);
    EXPECT_TRUE(optimizer.outcome().finite());
    const auto before = state_of(optimizer);
    problem.fill_gradients(2);
    problem.params[3].grad.data_ptr<float>()[19999] = bad;
    optimizer.step(1e-2, 4, 1.0);
    EXPECT_FALSE(std::isfinite(optimizer.outcome().grad_norm));
    EXPECT_EQ(optimizer.outcome().refused_step, 3);
    problem.train(optimizer, 3, 4);  // a finite one does not heal it: its step number would be another
    EXPECT_EQ(optimizer.outcome().refused_step, 3);
    EXPECT_EQ(optimizer.steps(), 2);
    for (const auto& [name, tensor] : state_of(optimizer)) EXPECT_TRUE(same_bits(tensor, before.at(name))) << name;
    // Restored to a good state, it goes on.
    optimizer.restore(2, [&](const std::string& name, const Tensor& t) { t.copy_(before.at(name)); });
    problem.train(optimizer, 2, 3);
    EXPECT_TRUE(optimizer.outcome().finite());
    EXPECT_EQ(optimizer.steps(), 3);
  }
}

// As if the refused step had not been asked for.
TEST(Optimizer, GoesOnAfterARefusalWithTheStepThatWouldHaveBeenNext) {
  for (const Optim optim : kAllOptims) {
    Problem problem(at::kBFloat16), without(at::kBFloat16);
    Optimizer optimizer(config_of(optim), problem.params), reference(config_of(optim), without.params);
    problem.train(optimizer, 0, 2);
    without.train(reference, 0, 2);
    problem.params[3].grad.data_ptr<float>()[19999] = std::numeric_limits<float>::infinity();
    optimizer.step(1e-2, 4, 1.0);
    EXPECT_FALSE(optimizer.outcome().finite());
    optimizer.go_on();
    EXPECT_TRUE(optimizer.outcome().finite());
    optimizer.go_on();  // nothing to go on from
    EXPECT_EQ(optimizer.steps(), 2);
    problem.train(optimizer, 3, 5);
    without.train(reference, 3, 5);
    EXPECT_EQ(optimizer.steps(), 4);
    const auto expected = state_of(reference);
    for (const auto& [name, tensor] : state_of(optimizer)) EXPECT_TRUE(same_bits(tensor, expected.at(name))) << name;
    for (size_t i = 0; i < problem.params.size(); ++i) EXPECT_TRUE(same_bits(problem.params[i].param, without.params[i].param));
  }
}

TEST(Optimizer, EightBitStateTakesAQuarterOfTheMoments) {
  const auto bytes_per_element = [](Optim optim) {
    const int64_t n = 1 << 20;
    const Optimizer optimizer(config_of(optim), {{"p", at::zeros({n}, at::kBFloat16), at::zeros({n}, at::kFloat)}});
    return static_cast<double>(optimizer.state_bytes()) / static_cast<double>(n);
  };
  EXPECT_EQ(bytes_per_element(Optim::kAdamwTorch), 12.0);
  EXPECT_EQ(bytes_per_element(Optim::kAdamw8bit), 4.0 + 2.0 + 8.0 / 256);
  EXPECT_EQ(bytes_per_element(Optim::kLion32bit), 8.0);
  EXPECT_EQ(bytes_per_element(Optim::kLion8bit), 4.0 + 1.0 + 4.0 / 256);
}

TEST(Optimizer, RefusesWhatItCannotUpdate) {
  const Tensor grad = at::zeros({4}, at::kFloat);
  const auto make = [](const Tensor& p, const Tensor& g) { Optimizer({}, {{"p", p, g}}); };
  EXPECT_THROW(make(at::zeros({4}, at::kHalf), grad), std::invalid_argument);
  EXPECT_THROW(make(at::zeros({5}, at::kFloat), grad), std::invalid_argument);
  EXPECT_THROW(make(at::zeros({4}, at::kFloat), grad.to(at::kBFloat16)), std::invalid_argument);
  EXPECT_THROW(make(at::zeros({2, 4}, at::kFloat).select(1, 0), at::zeros({2}, at::kFloat)), std::invalid_argument);
  EXPECT_THROW(make(Tensor(), grad), std::invalid_argument);
  EXPECT_THROW(make(at::zeros({0}, at::kFloat), at::zeros({0}, at::kFloat)), std::invalid_argument);
  const Tensor p = at::zeros({4}, at::kFloat);
  EXPECT_THROW(Optimizer({}, {{"p", p, grad}, {"p", p, grad}}), std::invalid_argument);
  Optimizer optimizer({}, {{"p", p, grad}});
  EXPECT_THROW(optimizer.restore(-1, [](const std::string&, const Tensor&) {}), std::invalid_argument);
  EXPECT_THROW(optimizer.step(1e-3, 0, 1.0), std::invalid_argument);
}

TEST(Optimizer, WithoutParametersStillCounts) {
  Optimizer optimizer({}, {});
  optimizer.step(1e-3, 1, 1.0);
  EXPECT_EQ(optimizer.outcome().grad_norm, 0.0);
  EXPECT_EQ(optimizer.steps(), 1);
  EXPECT_EQ(optimizer.state_bytes(), 0);
}

}  // namespace
}  // namespace nibble::optim
