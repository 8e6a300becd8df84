#include "trainer/forward_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "gpu/runtime_table.h"
#include "tests/support/random_model.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kMib = int64_t{1} << 20, kGib = int64_t{1} << 30;

int64_t free_on_device = 0;

// A device that only says how much memory it has.
nn::Place device_with(int64_t free_bytes) {
  static const gpu::RuntimeTable runtime = [] {
    gpu::RuntimeTable table{};
    table.memory = [](int64_t* free, int64_t* total) {
      *free = free_on_device;
      *total = free_on_device + kGib;
    };
    return table;
  }();
  static const gpu::ModuleTable module = [] {
    gpu::ModuleTable table{};
    table.runtime = &runtime;
    return table;
  }();
  free_on_device = free_bytes;
  nn::Place place;
  place.queue = {&module, nullptr};
  return place;
}

class PlanForward : public testing::Test {
 protected:
  PlanForward() {
    test::write_random_model(folder_ / "model", {.vocab = 8192});
    source_ = io::open_weight_source((folder_ / "model").string());
    config_.model_name_or_path = (folder_ / "model").string();
    config_.packed_cache_dir = (folder_ / "cache").string();
    config_.max_length = 256;
  }
  ForwardPlan plan(int64_t lora_r = 0, const nn::Place& place = {}) const { return plan_forward(config_, *source_, lora_r, shape_, place); }
  static int64_t bytes_of(const ForwardPlan& forward, const std::string& name) {
    int64_t sum = 0;
    for (const PlanComponent& c : forward.plan.components) sum += c.name == name ? c.bytes : 0;
    return sum;
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<io::WeightSource> source_;
  schema::RunConfig config_;
  ForwardShape shape_{1, 256, 0, false};
};

TEST_F(PlanForward, CountsNothingThatOnlyTrainingNeeds) {
  const ForwardPlan bare = plan(), adapted = plan(8);
  for (const char* name : {"adapter gradients", "optimizer state"}) EXPECT_EQ(bytes_of(adapted, name), 0) << name;
  EXPECT_EQ(bytes_of(bare, "adapters"), 0);
  // Of every layer: q and o 512 + 512, k and v 512 + 256, gate, up and down 512 + 1536.
  EXPECT_EQ(bytes_of(adapted, "adapters"), 2 * 8 * 12 * (2 * 1024 + 2 * 768 + 3 * 2048));
  // Two hidden states in turn.
  EXPECT_EQ(bytes_of(bare, "saved activations"), 2 * 256 * 512 * 2);
  EXPECT_FALSE(bare.base().streamed);
}

TEST_F(PlanForward, CountsKeysAndValuesOfTextThatIsGenerated) {
  shape_.cache_tokens = 300;
  const ForwardPlan made = plan();
  EXPECT_EQ(bytes_of(made, "key and value cache"), 2 * 12 * 300 * 256 * 2);
  EXPECT_EQ(bytes_of(made, "logits of guesses"), 8 * made.input.model.vocab_size * 4);
  EXPECT_EQ(made.plan.total_bytes(), made.plan.total_bytes("cpu"));
}

TEST_F(PlanForward, PassesOfManyRowsAreCutOnACpu) {
  shape_ = {8, 256};
  EXPECT_EQ(plan().input.eval_tokens, 512);
  shape_.cut = false;
  EXPECT_EQ(plan().input.eval_tokens, 2048);
}

TEST_F(PlanForward, StreamsABaseThatDoesNotFitAndMayBeStreamed) {
  const int64_t resident = plan().plan.total_bytes();
  config_.max_memory.bytes = resident - 6 * kMib;
  EXPECT_TRUE(plan().base().streamed);
  EXPECT_LE(plan().plan.total_bytes(), config_.max_memory.bytes);
  config_.base_residency = BaseResidency::kResident;
  EXPECT_THROW(plan(), OutOfMemoryError);
  config_.base_residency = BaseResidency::kAuto;
  config_.packed_cache = AutoSwitch::kFalse;  // without which nothing can be streamed
  EXPECT_THROW(plan(), OutOfMemoryError);
  config_.max_memory.bytes = resident + 16 * kMib;
  EXPECT_FALSE(plan().base().streamed);
}

TEST_F(PlanForward, LeavesTheEmbeddingOnTheHostWhereADeviceHasNoRoom) {
  const int64_t all = plan(0, device_with(8 * kGib)).plan.total_bytes();
  EXPECT_FALSE(plan(0, device_with(8 * kGib)).base().offload_embedding);
  const ForwardPlan small = plan(0, device_with(all - kMib - gpu_budget(config_, device_with(0)).bytes));
  EXPECT_TRUE(small.base().offload_embedding);
  EXPECT_FALSE(small.base().streamed);
  EXPECT_EQ(small.plan.total_bytes(), all - 8192 * 512 * 2);
}

}  // namespace
}  // namespace nibble::trainer
