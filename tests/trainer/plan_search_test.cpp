// Units: trainer/plan_search trainer/plan_speed trainer/memory_choices trainer/plan_advice
#include "trainer/plan_search.h"

#include <gtest/gtest.h>

#include "io/hf_config.h"
#include "tests/support/golden_path.h"
#include "trainer/from_config.h"
#include "trainer/plan_advice.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kGib = int64_t{1} << 30;

PlanInput gpu_input(const char* shape, const schema::RunConfig& config = {}, int64_t tokens = 2048) {
  PlanInput input = plan_input(config, io::read_hf_config(test::golden_path(std::string("shapes/") + shape + "/config.json")), 0);
  input.device = PlanDevice::kCuda;
  set_batch(input, 1, tokens, tokens);
  return input;
}

const HardwareSpeed& a_gpu() { return known_gpus()[0]; }

TEST(SearchPlan, ChangesNothingWhereMemoryIsPlenty) {
  const PlannedRun run = search_plan(gpu_input("llama-7b"), 200 * kGib, a_gpu());
  EXPECT_TRUE(run.fits);
  EXPECT_EQ(run.input.choices, fastest_choices(run.input));
  EXPECT_EQ(recompute_text(run.input.choices.recompute), "none");
}

// The outputs of norms: their memory costs a CPU what making them again does.
TEST(SearchPlan, KeepsNoNormsOnACpuUnlessToldTo) {
  PlanInput input = gpu_input("llama-7b");
  input.device = PlanDevice::kCpu;
  const PlannedRun run = search_plan(input, 200 * kGib, tabled_cpu());
  EXPECT_EQ(recompute_text(run.input.choices.recompute), "elementwise");
  EXPECT_EQ(run.input.choices, fastest_choices(run.input));
  input.fixed.recompute = Recompute::kNone;
  EXPECT_EQ(recompute_text(search_plan(input, 200 * kGib, tabled_cpu()).input.choices.recompute), "none");
}

// From much to little memory: never more than the budget, never faster with less, and all of the budget that helps is used.
TEST(SearchPlan, FitsEveryBudgetAndSlowsDownWithIt) {
  const PlanInput input = gpu_input("llama-3.1-8b");
  double before = 0;
  int mixed = 0;
  for (double gib = 16; gib >= 6.5; gib -= 0.5) {
    const auto budget = static_cast<int64_t>(gib * static_cast<double>(kGib));
    const PlannedRun run = search_plan(input, budget, a_gpu());
    ASSERT_TRUE(run.fits) << gib;
    EXPECT_LE(plan_memory(run.input).total_bytes(), budget);
    EXPECT_GE(run.seconds, before * 0.9999) << gib;
    before = run.seconds;
    mixed += recompute_text(run.input.choices.recompute).find(" in ") != std::string::npos;
  }
  EXPECT_GE(mixed, 5);
}

TEST(SearchPlan, RebuildsAtTheBottomOfTheStack) {
  const PlannedRun run = search_plan(gpu_input("llama-3.1-8b"), 10 * kGib, a_gpu());
  const auto& recompute = run.input.choices.recompute;
  EXPECT_NE(recompute.front().level, recompute.back().level);
  EXPECT_GT(recompute.front().level, recompute.back().level);
}

TEST(SearchPlan, GivesEachCoreItsPassWhereMemoryAllows) {
  schema::RunConfig config;
  config.per_device_train_batch_size = 4;
  PlanInput input = plan_input(config, io::read_hf_config(test::golden_path("shapes/llama-7b/config.json")), 0);
  input.cores = 4;
  set_batch(input, 4, 512, 512);
  EXPECT_EQ(search_plan(input, 200 * kGib, tabled_cpu()).input.choices.parallel_passes, 1);  // too large to be planned well
  input.model.hidden_size = 512;
  input.model.intermediate_size = 1536;
  const PlannedRun plenty = search_plan(input, 200 * kGib, tabled_cpu());
  EXPECT_EQ(plenty.input.choices.parallel_passes, 4);
  EXPECT_EQ(plenty.input.choices, fastest_choices(plenty.input));
  // Sharing a pass costs less than rebuilding activations.
  PlanInput shared = plenty.input;
  shared.choices.parallel_passes = 1;
  const PlannedRun less = search_plan(input, plan_memory(shared).total_bytes(), tabled_cpu());
  EXPECT_EQ(less.input.choices.parallel_passes, 1);
  EXPECT_EQ(recompute_text(less.input.choices.recompute), "elementwise");
  EXPECT_GT(less.seconds, plenty.seconds);

  input.fixed.streamed = true;  // weights that come and go are in one pass at a time
  EXPECT_EQ(search_plan(input, 200 * kGib, tabled_cpu()).input.choices.parallel_passes, 1);
  input.fixed.streamed = false;
  input.fixed.parallel_passes = 2;
  EXPECT_EQ(search_plan(input, 200 * kGib, tabled_cpu()).input.choices.parallel_passes, 2);
  input.device = PlanDevice::kCuda;
  EXPECT_EQ(search_plan(input, 200 * kGib, a_gpu()).input.choices.parallel_passes, 1);
}

TEST(SearchPlan, RespectsWhatIsFixed) {
  PlanInput input = gpu_input("llama-7b");
  input.fixed.recompute = Recompute::kMlp;
  input.fixed.streamed = false;
  input.fixed.offload_embedding = true;
  input.fixed.loss_chunk_tokens = 100;
  input.fixed.background_save = false;
  for (const int64_t budget : {kGib, 100 * kGib}) {
    const PlannedRun run = search_plan(input, budget, a_gpu());
    EXPECT_EQ(run.fits, budget > 50 * kGib);
    EXPECT_EQ(choices_text(run.input.choices), "recompute mlp; loss in chunks of 100 tokens; embedding in host memory");
  }
}

TEST(SearchPlan, GivesTheSmallestWhereNothingFits) {
  const PlannedRun run = search_plan(gpu_input("llama-33b"), kGib, a_gpu());
  EXPECT_FALSE(run.fits);
  EXPECT_TRUE(run.input.choices.streamed);
  EXPECT_TRUE(run.input.choices.offload_embedding);
}

TEST(SearchPlan, StreamsOnlyWhatDoesNotFit) {
  const PlanInput input = gpu_input("llama-33b");
  EXPECT_FALSE(search_plan(input, 24 * kGib, a_gpu()).input.choices.streamed);
  const PlannedRun small = search_plan(input, 12 * kGib - kCardReserveBytes, a_gpu());
  EXPECT_TRUE(small.fits);
  EXPECT_TRUE(small.input.choices.streamed);
}

TEST(SearchPlan, PagesAnOptimizerThatMayBePaged) {
  schema::RunConfig config;
  config.lora_r = 64;
  config.optim = Optim::kPagedAdamw32bit;
  config.base_residency = BaseResidency::kResident;
  const PlanInput input = gpu_input("llama-7b", config, 1024);
  const PlannedRun run = search_plan(input, 6 * kGib - kCardReserveBytes, a_gpu());
  EXPECT_TRUE(run.fits);
  EXPECT_GT(run.input.choices.paged_budget_bytes, 0);
  EXPECT_EQ(search_plan(input, 40 * kGib, a_gpu()).input.choices.paged_budget_bytes, 0);
}

// Table 4.1 of the operations of a token: LLaMA 7B at 2048 tokens needs 28.5 GFLOP without recompute, 39.2 with all but the
// down projections (the table's rows have no dequantization, which is at most a tenth here).
// The copy of a checkpoint takes what is left over: it never costs a step's time.
TEST(SearchPlan, CopiesCheckpointsWhereThereIsRoom) {
  schema::RunConfig config;
  config.save_steps = 10;
  PlanInput input = plan_input(config, io::read_hf_config(test::golden_path("shapes/llama-7b/config.json")), 0);
  set_batch(input, 1, 1024, 1024);
  ASSERT_TRUE(input.saves_midway);
  const PlannedRun plenty = search_plan(input, 200 * kGib, a_gpu());
  EXPECT_TRUE(plenty.input.choices.background_save);
  const int64_t copy = plan_memory(plenty.input).bytes_of(MemoryPart::kCheckpoint), without = plan_memory(plenty.input).total_bytes() - copy;
  EXPECT_EQ(copy, checkpoint_copy_bytes(input));
  EXPECT_GE(copy, adapter_parameters(input) * (2 + 3 * 4));  // bf16; master and two moments
  EXPECT_LT(copy, adapter_parameters(input) * (2 + 3 * 4) * 1.01);

  const PlannedRun short_of_it = search_plan(input, without + copy / 2, a_gpu());
  EXPECT_FALSE(short_of_it.input.choices.background_save);
  EXPECT_EQ(short_of_it.seconds, plenty.seconds);

  PlanInput asked = input;
  asked.fixed.background_save = true;
  const PlannedRun fixed = search_plan(asked, without + copy / 2, a_gpu());
  EXPECT_TRUE(fixed.fits && fixed.input.choices.background_save);
  EXPECT_GT(fixed.seconds, plenty.seconds);  // something else gave way
  asked.fixed.background_save = false;
  EXPECT_FALSE(search_plan(asked, 200 * kGib, a_gpu()).input.choices.background_save);
}

TEST(SearchPlan, CopiesNoCheckpointsWhereThatIsOfNoUse) {
  schema::RunConfig config;
  const auto copies = [&] {
    PlanInput input = plan_input(config, io::read_hf_config(test::golden_path("shapes/llama-7b/config.json")), 0);
    set_batch(input, 1, 1024, 1024);
    return search_plan(input, 200 * kGib, a_gpu()).input.choices.background_save;
  };
  EXPECT_TRUE(copies());
  config.max_steps = config.save_steps;  // the only save is at the end
  EXPECT_FALSE(copies());
  config.max_steps = -1;
  config.optim = Optim::kPagedAdamw32bit;  // its state is not to be in a CPU's memory
  EXPECT_FALSE(copies());
}

TEST(PlanSpeed, CountsTheOperationsOfAStep) {
  PlanInput input = gpu_input("llama-7b");
  const HardwareSpeed flops_only{"", 1e12, 1e18, 1e18};
  EXPECT_NEAR(1e12 / tokens_per_s(input, flops_only) / 1e9, 28.5, 0.3);
  input.choices.recompute = every_layer(32, Recompute::kLayer);
  EXPECT_NEAR(1e12 / tokens_per_s(input, flops_only) / 1e9, 39.2, 0.4);
  input = gpu_input("llama-3.1-8b");
  EXPECT_NEAR(1e12 / tokens_per_s(input, flops_only) / 1e9, 32.1, 0.3);
}

TEST(PlanSpeed, StreamingCostsTheLongerOfCopyAndWork) {
  PlanInput input = gpu_input("llama-3.1-8b");
  const double resident = micro_batch_seconds(input, a_gpu());
  input.choices.streamed = true;
  EXPECT_NEAR(micro_batch_seconds(input, a_gpu()), resident, 0.05 * resident);  // hidden behind 2,048 tokens
  set_batch(input, 1, 64, 64);
  const double small = micro_batch_seconds(input, a_gpu());
  // Twice 3.35 GiB at 25 GB/s.
  EXPECT_GT(small, 0.28);
  EXPECT_GT(measured_cpu(2).flops_per_s, 1e8);
}

TEST(ChangesThatFit, NamesChangesAndTheirCost) {
  schema::RunConfig config;
  config.recompute = Recompute::kNone;
  config.base_residency = BaseResidency::kResident;
  const PlanInput input = gpu_input("llama-3.1-8b", config);
  const int64_t budget = 8 * kGib - kCardReserveBytes;
  ASSERT_FALSE(search_plan(input, budget, a_gpu()).fits);
  const auto changes = changes_that_fit(input, budget, a_gpu());
  ASSERT_FALSE(changes.empty());
  EXPECT_EQ(changes.front().keys, std::vector<std::string>{"recompute: auto"});
  EXPECT_TRUE(changes.front().same_numbers);
  EXPECT_GT(changes.front().cost, 0.1);
  for (const PlanChange& change : changes) EXPECT_LE(change.bytes, budget);
}

TEST(ChangesThatFit, PutsChangesTogetherWhereNoneIsEnough) {
  schema::RunConfig config;
  config.base_residency = BaseResidency::kResident;
  config.recompute = Recompute::kNone;
  config.lora_r = 64;
  const PlanInput input = gpu_input("llama-3.1-8b", config);
  const auto changes = changes_that_fit(input, 5 * kGib, a_gpu());
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_GT(changes[0].keys.size(), 1u);
  EXPECT_TRUE(changes_that_fit(input, kGib / 4, a_gpu()).empty());
}

TEST(MoreMemory, SaysWhatItWouldBuy) {
  const PlanInput input = gpu_input("llama-3.1-8b");
  const PlannedRun run = search_plan(input, 8 * kGib - kCardReserveBytes, a_gpu());
  const auto offers = more_memory(run, 8 * kGib - kCardReserveBytes, a_gpu());
  ASSERT_FALSE(offers.empty());
  EXPECT_GT(offers.back().faster, 0.15);
  EXPECT_TRUE(more_memory(search_plan(input, 100 * kGib, a_gpu()), 100 * kGib, a_gpu()).empty());
}

TEST(MemoryChoices, TextAndJsonSayTheSame) {
  MemoryChoices choices{every_layer(4, Recompute::kNone), 128, true, false, 64 << 20};
  choices.recompute[0].level = choices.recompute[1].level = choices.recompute[2].level = Recompute::kLayer;
  EXPECT_EQ(choices_text(choices), "recompute layer in 3 layers, none in 1; loss in chunks of 128 tokens; base streamed layer by layer; 64 MiB of the "
                                   "optimizer's state resident");
  EXPECT_EQ(stored_loss_chunk(choices_json(choices)), 128);
  EXPECT_FALSE(stored_loss_chunk(""));
  EXPECT_FALSE(stored_loss_chunk("{\"loss_chunk_tokens\": 0}"));
  MemoryChoices other = choices;
  EXPECT_TRUE(other == choices);
  other.recompute[3].level = Recompute::kMlp;
  EXPECT_FALSE(other == choices);
}

}  // namespace
}  // namespace nibble::trainer
