// Units: trainer/memory_plan trainer/from_config
#include "trainer/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/amx.h"
#include "core/memory_limit.h"
#include "tests/support/tiny_model.h"
#include "trainer/from_config.h"

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

int64_t bytes_of(const MemoryPlan& plan, const std::string& name, const std::string& device = "cpu") {
  for (const PlanComponent& c : plan.components) {
    if (c.name == name && c.device == device) return c.bytes;
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
  EXPECT_EQ(bytes_of(plan_memory(some_input(config)), "base weights"), elements / 2);
  EXPECT_EQ(bytes_of(plan_memory(some_input(config)), "base scales"), elements / 16);
  config.lora_target_modules = {"q_proj", "v_proj"};
  config.lora_r = 8;
  const int64_t adapter = 2 * 2 * 8 * (512 + 512);
  EXPECT_EQ(bytes_of(plan_memory(some_input(config)), "adapters"), 2 * adapter);
  EXPECT_EQ(bytes_of(plan_memory(some_input(config)), "adapter gradients"), 4 * adapter);
  EXPECT_EQ(bytes_of(plan_memory(some_input(config)), "optimizer state"), 12 * adapter);
}

TEST(MemoryPlan, AddsUpByDeviceAndByPart) {
  PlanInput input = some_input();
  input.device = PlanDevice::kCuda;
  input.choices.offload_embedding = true;
  const MemoryPlan plan = plan_memory(input);
  std::map<std::string, int64_t> sums;
  int64_t of_base = 0;
  for (const PlanComponent& c : plan.components) {
    sums[c.device] += c.bytes;
    if (c.device == "cuda" && c.part == MemoryPart::kBase) of_base += c.bytes;
  }
  EXPECT_EQ(plan.total_bytes(), sums.at("cuda"));
  EXPECT_EQ(plan.total_bytes("cpu"), sums.at("cpu"));
  EXPECT_EQ(plan.bytes_of(MemoryPart::kBase), of_base);
  EXPECT_EQ(bytes_of(plan, "embedding", "cuda"), 0);
  EXPECT_EQ(bytes_of(plan, "embedding", "cpu"), 96 * 512 * 2);
  EXPECT_GT(bytes_of(plan, "CUDA context", "cuda"), 0);
}

TEST(MemoryPlan, StreamedBaseIsTwoLayersOnADevice) {
  PlanInput input = some_input();
  input.model.num_hidden_layers = 10;
  input.device = PlanDevice::kCuda;
  input.choices = MemoryChoices{every_layer(10, Recompute::kLayer), 256, false, false, 0};
  const int64_t resident = bytes_of(plan_memory(input), "base weights", "cuda");
  input.choices.streamed = true;
  const MemoryPlan streamed = plan_memory(input);
  EXPECT_EQ(bytes_of(streamed, "base weights", "cuda") * 5, resident);
  EXPECT_GT(bytes_of(streamed, "base weights", "cpu"), resident);  // with their scales
}

TEST(MemoryPlan, HeadInFourBitsTakesAQuarterAndKeepsATiedEmbedding) {
  schema::RunConfig config;
  config.lm_head_load_in_4bit = true;
  PlanInput input = some_input(config);
  const int64_t table = 96 * 512 * 2;
  EXPECT_LT(bytes_of(plan_memory(input), "output head"), table / 3);
  input.model.tie_word_embeddings = true;
  EXPECT_EQ(bytes_of(plan_memory(input), "embedding"), table);
  EXPECT_LT(bytes_of(plan_memory(input), "output head"), table / 3);
}

TEST(MemoryPlan, PagedStateIsItsBudgetOnADeviceAndWholeOnTheHost) {
  schema::RunConfig config;
  config.optim = Optim::kPagedAdamw32bit;
  config.lora_r = 512;
  PlanInput input = some_input(config);
  input.device = PlanDevice::kCuda;
  const int64_t whole = optimizer_state_bytes(input);
  ASSERT_GT(whole, int64_t{32} << 20);
  input.choices.paged_budget_bytes = int64_t{16} << 20;
  const MemoryPlan plan = plan_memory(input);
  EXPECT_EQ(bytes_of(plan, "optimizer state", "cuda"), int64_t{16} << 20);
  EXPECT_EQ(bytes_of(plan, "optimizer state", "cpu"), whole);
}

TEST(SetBatch, ADeviceTakesABatchAtOnceAndACpuInParts) {
  PlanInput input = some_input();
  set_batch(input, 8, 256, 256);
  EXPECT_EQ(input.pass_tokens, 512);
  set_batch(input, 2, 600, 600);  // a document is not cut
  EXPECT_EQ(input.pass_tokens, 640);
  input.device = PlanDevice::kCuda;
  set_batch(input, 8, 256, 256);
  EXPECT_EQ(input.pass_tokens, 2048);
}

TEST(SetBatch, GivesEachCoreItsPassWhereAStepHasAsManyRows) {
  PlanInput input = some_input();
  input.cores = 4;
  input.accumulation_steps = 1;
  set_batch(input, 2, 100, 100);
  EXPECT_EQ(input.step_passes, 1);
  EXPECT_EQ(input.pass_tokens, 256);
  set_batch(input, 4, 100, 100);
  EXPECT_EQ(input.step_passes, 1);  // of too few tokens to be shared out
  set_batch(input, 4, 300, 300);
  EXPECT_EQ(input.step_passes, 4);
  EXPECT_EQ(input.pass_tokens, 512);
  input.accumulation_steps = 4;
  set_batch(input, 2, 100, 100);  // one each
  EXPECT_EQ(input.step_passes, 4);
  EXPECT_EQ(input.pass_tokens, 256);
  input.mlp_chunk_tokens = 64;  // such passes come alone
  set_batch(input, 2, 100, 100);
  EXPECT_EQ(input.step_passes, 1);
}

TEST(Plan, CountsAWorkspaceForEachPassAtATime) {
  PlanInput input = some_input();
  const MemoryPlan one = plan_memory(input);
  input.choices.parallel_passes = 3;
  const MemoryPlan three = plan_memory(input);
  for (const char* name : {"adapter gradients", "saved activations", "layer workspace", "logits chunk"}) {
    EXPECT_EQ(bytes_of(three, name, "cpu"), 3 * bytes_of(one, name, "cpu")) << name;
  }
  // A decoded weight for each pass; or, with AMX, panels for each thread, which a single pass has one of on each core.
  const int64_t threads = amx_bf16_usable() ? input.cores : 1;
  const char* const panels = "dequantization panels";
  EXPECT_EQ(bytes_of(three, panels, "cpu") * threads, bytes_of(one, panels, "cpu") * std::max<int64_t>(3, threads));
  for (const char* name : {"base weights", "adapters", "optimizer state"}) EXPECT_EQ(bytes_of(three, name, "cpu"), bytes_of(one, name, "cpu")) << name;
}

TEST(MemoryLimit, IsTheLowestOfTheProcess) {
  EXPECT_EQ(memory_limit_bytes(), memory_limit().bytes);
  EXPECT_GT(memory_limit_bytes(), int64_t{64} << 20);
}

TEST(FromConfig, LeavesToThePlannerWhatTheConfigurationDoesNotSay) {
  schema::RunConfig config;
  FixedChoices fixed = fixed_choices(config);
  EXPECT_FALSE(fixed.recompute || fixed.loss_chunk_tokens || fixed.streamed || fixed.offload_embedding || fixed.paged_budget_bytes || fixed.parallel_passes);
  config.recompute = Recompute::kMlp;
  config.loss_chunk_tokens = 64;
  config.base_residency = BaseResidency::kStreamed;
  config.offload_embedding = AutoSwitch::kFalse;
  config.paged_budget_mib = 3;
  fixed = fixed_choices(config);
  EXPECT_EQ(fixed.recompute, Recompute::kMlp);
  EXPECT_EQ(fixed.loss_chunk_tokens, 64);
  EXPECT_EQ(fixed.streamed, true);
  EXPECT_EQ(fixed.offload_embedding, false);
  EXPECT_EQ(fixed.paged_budget_bytes, 3 << 20);
  const MemoryChoices choices = some_input(config).choices;
  EXPECT_EQ(choices.recompute.at(1).level, Recompute::kMlp);
  EXPECT_TRUE(choices.streamed);
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
