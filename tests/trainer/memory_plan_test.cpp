// Units: trainer/memory_plan trainer/plan_report trainer/from_config
#include "trainer/memory_plan.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/tiny_model.h"
#include "trainer/from_config.h"
#include "trainer/plan_report.h"

namespace nibble::trainer {
namespace {

PlanInput some_input(const schema::RunConfig& config = {}, int64_t tokens = 1024) {
  nn::ModelConfig model = test::tiny_model({}).config;
  model.hidden_size = 512;
  model.intermediate_size = 1024;
  model.num_attention_heads = 32;
  model.num_key_value_heads = 32;
  return plan_input(config, model, tokens);
}

int64_t bytes_of(const MemoryPlan& plan, const std::string& name) {
  for (const PlanComponent& c : plan.components) {
    if (c.name == name) return c.bytes;
  }
  ADD_FAILURE() << "no component " << name;
  return 0;
}

TEST(MemoryPlan, CountsWeightsExactly) {
  schema::RunConfig config;
  const int64_t elements = 2 * (4 * 512 * 512 + 3 * 512 * 1024);
  config.load_in_4bit = false;
  EXPECT_EQ(bytes_of(plan_memory(some_input(config)), "base weights"), 2 * elements);
  config.load_in_4bit = true;
  config.bnb_4bit_use_double_quant = false;
  // Half a byte a weight and an fp32 scale for 64.
  EXPECT_EQ(bytes_of(plan_memory(some_input(config)), "base weights"), elements / 2 + elements / 16);
  config.lora_target_modules = {"q_proj", "v_proj"};
  config.lora_r = 8;
  const int64_t adapter = 2 * 2 * 8 * (512 + 512);
  EXPECT_EQ(bytes_of(plan_memory(some_input(config)), "adapters"), 2 * adapter);
  EXPECT_EQ(bytes_of(plan_memory(some_input(config)), "optimizer state"), 12 * adapter);
}

TEST(ChooseRecompute, TakesTheCheapestLevelThatFits) {
  PlanInput input = some_input({}, 100000);
  const auto total = [&](Recompute level) {
    input.recompute = {level};
    return plan_memory(input).total_bytes();
  };
  int64_t before = std::numeric_limits<int64_t>::max();
  for (Recompute level : {Recompute::kNone, Recompute::kElementwise, Recompute::kMlp}) {
    const int64_t bytes = total(level);
    EXPECT_LT(bytes, before);
    before = bytes;
    EXPECT_EQ(choose_recompute(input, bytes).level, level);
  }
  EXPECT_EQ(choose_recompute(input, 0).level, Recompute::kLayer);
  EXPECT_GT(memory_limit_bytes(), int64_t{64} << 20);
}

TEST(PlanReport, SaysWhetherItFits) {
  const PlanInput input = some_input();
  const MemoryPlan plan = plan_memory(input);
  const auto json = nlohmann::json::parse(plan_json(plan, input, plan.total_bytes()));
  EXPECT_EQ(json.at("total_bytes").at("cpu"), plan.total_bytes());
  EXPECT_EQ(json.at("fits").at("cpu"), true);
  EXPECT_EQ(json.at("components").size(), plan.components.size());
  EXPECT_EQ(nlohmann::json::parse(plan_json(plan, input, plan.total_bytes() - 1)).at("fits").at("cpu"), false);
  EXPECT_NE(plan_text(plan, input, 1).find("does not fit"), std::string::npos);
}

TEST(FromConfig, TotalStepsFollowEpochsWhereMaxStepsDoesNotSay) {
  schema::RunConfig config;
  config.gradient_accumulation_steps = 4;
  config.num_train_epochs = 1.5;
  EXPECT_EQ(total_steps(config, 10), 5);  // 3 a pass, the last of 2 batches
  config.num_train_epochs = 0;
  EXPECT_EQ(total_steps(config, 10), 1);
  config.max_steps = 7;
  EXPECT_EQ(total_steps(config, 10), 7);
}

TEST(FromConfig, TargetsAreThoseNamed) {
  schema::RunConfig config;
  EXPECT_EQ(lora_config(config).targets.size(), static_cast<size_t>(nn::kProjections));
  config.lora_target_modules = {"down_proj", "q_proj"};
  ASSERT_EQ(lora_config(config).targets.size(), 2u);
  EXPECT_EQ(nn::projection_name(lora_config(config).targets[0]), "q_proj");
  config.load_in_4bit = false;
  EXPECT_FALSE(quant_config(config));
}

}  // namespace
}  // namespace nibble::trainer
