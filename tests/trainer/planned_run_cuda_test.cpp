// Units: trainer/plan_search, trainer/memory_plan, trainer/training_model. Training planned as `nibble train` plans it, on the emulated
// device with the memory of a small card: what is chosen fits, nothing is allocated beyond the limit, and no choice changes a number.
//
// The cards are those of 6 to 24 GB, scaled down in proportion: what an 8B model has of its range, from the least that it can do with
// to all that it could use, the small model of this test has of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "gpu/runtime_table.h"
#include "io/hf_config.h"
#include "schema/load.h"
#include "tests/support/golden_path.h"
#include "tests/support/random_model.h"
#include "tests/trainer/model_on_device.h"
#include "tests/trainer/run_binary.h"
#include "trainer/from_config.h"
#include "trainer/plan_report.h"
#include "trainer/run_schedule.h"
#include "trainer/train_step.h"
#include "trainer/training_model.h"
#include "trainer/worst_step.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kGib = int64_t{1} << 30;
constexpr int64_t kLayers = 6;

// The least and the most that a run can make use of, by its plan.
struct Range {
  int64_t least = 0, most = 0;
};
Range range_of(PlanInput input) {
  Range range;
  range.least = plan_memory(search_plan(input, 1, known_gpus()[0]).input).total_bytes();
  input.choices = fastest_choices(input);
  range.most = plan_memory(input).total_bytes();
  return range;
}

Range range_of_8b() {
  PlanInput input = plan_input({}, io::read_hf_config(test::golden_path("shapes/llama-3.1-8b/config.json")), 0);
  input.device = PlanDevice::kCuda;
  set_batch(input, 1, 2048, 2048);
  return range_of(input);
}

// Device memory that is held for as long as this lives.
class Held {
 public:
  explicit Held(int64_t bytes) : runtime_(test::emulated_module()->runtime), data_(runtime_->allocate(bytes)) {}
  Held(const Held&) = delete;
  ~Held() { runtime_->release(data_); }

 private:
  const gpu::RuntimeTable* runtime_;
  void* data_;
};

struct Outcome {
  std::vector<double> losses;
  std::vector<Tensor> adapter;
  MemoryChoices choices;
  int64_t limit = 0, peak = 0;  // of the device's memory, bytes
};

class PlannedRun : public testing::Test {
 protected:
  PlannedRun() {
    test::write_random_model(shop_ / "model", {.hidden = 96, .intermediate = 640, .layers = kLayers, .heads = 2, .kv_heads = 1, .vocab = 96});
    std::string rows;
    for (int r = 0; r < 3; ++r) {
      std::string ids;
      for (int t = 0; t < 64; ++t) ids += fmt::format("{}{}", t == 0 ? "" : ", ", 3 + (r * 31 + t * t * 7) % 90);
      rows += fmt::format("{{\"input_ids\": [{}]}}\n", ids);
    }
    test::put_file(shop_ / "rows.jsonl", rows);
    test::put_file(shop_ / "run.yaml", "model_name_or_path: model\ntrain_file: rows.jsonl\noutput_dir: run\nmax_length: 64\nlora_r: 8\nlora_dropout: 0.1\n"
                                       "per_device_train_batch_size: 1\ngradient_accumulation_steps: 1\nbnb_4bit_compute_dtype: float32\noptim: paged_adamw_32bit\npacked_cache: false\ndataset_cache: false\n");
  }
  static nn::Place place(MemoryAccount& account) { return {at::kCPU, {test::emulated_module(), nullptr}, &account}; }
  // With `budget` bytes for all that the plan counts; 0: what there is.
  schema::RunConfig config(int64_t budget, const std::vector<std::string>& set) const {
    std::vector<std::string> all = set;
    if (budget > 0) all.push_back(fmt::format("max_memory={}B", budget));
    return schema::load_run_config(shop_ / "run.yaml", all).config;
  }
  RunInputs inputs(int64_t budget, const std::vector<std::string>& set = {}) const {
    emulator::reset({.memory_bytes = 8 * kGib});
    MemoryAccount account;
    return open_run_inputs(config(budget, set), place(account));
  }

  // The worst step, then one of training, on a device that has what the budget leaves for allocations of ours.
  Outcome train(int64_t budget, const std::vector<std::string>& set = {}) {
    const schema::RunConfig config = this->config(budget, set);
    const RunInputs inputs = this->inputs(budget, set);
    Outcome out;
    out.choices = inputs.plan.choices;
    const int64_t planned = plan_memory(inputs.plan).total_bytes();
    EXPECT_LE(planned, inputs.budget.most_bytes);
    out.limit = inputs.budget.most_bytes - kCudaContextBytes - kCublasBytes - kTorchSlackBytes;
    emulator::reset({.memory_bytes = out.limit});
    {
      MemoryAccount account;
      const nn::Place device = place(account);
      const StopRequest stop;
      TrainingModel training(inputs, config, std::nullopt, device, shop_.path(), stop, [](const std::string&) {});
      test::move_frozen_to_device(training.model);
      // Adapters and gradients stay LibTorch's; on a device they would be there.
      int64_t trained = 0;
      for (const optim::ParamRef& p : training.optimizer.params()) trained += static_cast<int64_t>(p.param.nbytes() + p.grad.nbytes());
      const Held adapters(trained);
      const StepOptions step = step_options(config, inputs.plan, device, training);
      make_worst_step(training.model, training.passes, training.optimizer, step.pass, worst_shape(inputs.data.train, 1, step.pass_tokens, step.pass_multiple), {});
      data::BatchStream batches(inputs.data.train, config.per_device_train_batch_size, 1, true);
      RunState state;
      for (state.global_step = 0; state.global_step < 1; ++state.global_step) {
        state.micro_step = state.global_step;
        out.losses.push_back(train_step({training.model, training.passes, training.optimizer, batches, stop}, step, state, 1e-3)->loss());
      }
      for (const optim::ParamRef& p : training.optimizer.params()) out.adapter.push_back(p.param.clone());
      out.peak = emulator::memory_use().peak_on_device_bytes;
    }
    EXPECT_EQ(emulator::leaks(), "");
    return out;
  }

  static void expect_same(const Outcome& got, const Outcome& expected) {
    EXPECT_EQ(got.losses, expected.losses);
    ASSERT_EQ(got.adapter.size(), expected.adapter.size());
    for (size_t i = 0; i < got.adapter.size(); ++i) EXPECT_TRUE(at::equal(got.adapter[i], expected.adapter[i])) << i;
  }

  test::RunWorkshop shop_;
};

TEST_F(PlannedRun, FitsEveryCardToTheSameNumbers) {
  const Range small = range_of(inputs(0).plan), large = range_of_8b();
  const Outcome free = train(0);
  EXPECT_TRUE(free.choices == fastest_choices(inputs(0).plan));
  for (const int64_t card : {6, 8, 12, 16, 24}) {
    const double share = static_cast<double>(card_budget(static_cast<double>(card)).bytes - large.least) / static_cast<double>(large.most - large.least);
    const int64_t budget = small.least + static_cast<int64_t>(share * static_cast<double>(small.most - small.least));
    const Outcome out = train(budget);
    SCOPED_TRACE(fmt::format("{} GB: {} of {} MiB; {}", card, out.peak >> 20, out.limit >> 20, choices_text(out.choices)));
    EXPECT_LE(out.peak, out.limit);
    if (card == 24 || card <= 8) {
      EXPECT_EQ(out.choices == free.choices, card == 24);
    }
    expect_same(out, free);
  }
}

// As little as can be: streamed, rebuilt, the embedding on the host. A byte less is refused, with what is missing.
TEST_F(PlannedRun, DoesWithTheLeastAndRefusesLess) {
  const RunInputs any = inputs(0);
  const Range range = range_of(any.plan);
  const Outcome least = train(range.least);
  EXPECT_TRUE(least.choices.streamed);
  EXPECT_TRUE(least.choices.offload_embedding);
  EXPECT_LE(least.peak, least.limit);
  expect_same(least, train(0));
  const RunInputs less = inputs(range.least - 1);
  EXPECT_GT(plan_memory(less.plan).total_bytes(), less.budget.most_bytes);
  const std::string why = refusal_text(less.plan, less.budget);
  EXPECT_THAT(why, testing::HasSubstr("does not fit: max_memory has"));
  EXPECT_THAT(why, testing::HasSubstr("1 MiB are missing"));
  EXPECT_THAT(why, testing::HasSubstr("lora_r: 4"));
}

// A limit below the plan is hit, which shows that the limit is one: and says for which component.
TEST_F(PlannedRun, IsStoppedByTheLimitWhereThePlanIsNotKept) {
  const int64_t budget = range_of(inputs(0).plan).least;
  const schema::RunConfig config = this->config(budget, {});
  const RunInputs inputs = this->inputs(budget);
  emulator::reset({.memory_bytes = int64_t{1} << 20});
  MemoryAccount account;
  const StopRequest stop;
  EXPECT_THROW(TrainingModel(inputs, config, std::nullopt, place(account), shop_.path(), stop, [](const std::string&) {}), std::exception);
}

}  // namespace
}  // namespace nibble::trainer
