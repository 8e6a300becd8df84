#include "trainer/graph_use.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nn/step_graph.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/model_on_device.h"
#include "trainer/memory_plan.h"

namespace nibble::trainer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class GraphUse : public testing::Test {
 protected:
  void SetUp() override {
    emulator::reset();
    device_ = {at::kCPU, {test::emulated_module(), test::emulated_module()->runtime->create_stream()}};
    config_.cuda_graphs = AutoSwitch::kTrue;
  }
  void TearDown() override {
    model_ = {};
    test::emulated_module()->runtime->destroy_stream(device_.queue.stream);
    EXPECT_EQ(emulator::leaks(), "");
  }
  void start(nn::Pass& pass, bool streamed = false) {
    start_graphs(config_, streamed, pass, [&](const std::string& text) { said_.push_back(text); });
  }
  void run(nn::Pass& pass, int passes) {
    for (int i = 0; i < passes; ++i) pass.forward_backward(test::TinyBatch({9, 14}, 96, static_cast<uint64_t>(i)).view(), {});
    pass.collect();
  }

  schema::RunConfig config_;
  nn::Place device_;
  nn::Model model_ = test::tiny_model({});
  std::vector<std::string> said_;
};

TEST_F(GraphUse, IsForADeviceThatRecordsAndWhoeverAsks) {
  EXPECT_TRUE(uses_graphs(config_, device_));
  EXPECT_FALSE(uses_graphs(config_, {}));
  EXPECT_FALSE(uses_graphs(config_, {at::kCPU, {test::emulated_module(), nullptr}})) << "the default stream cannot record";
  for (const AutoSwitch off : {AutoSwitch::kAuto, AutoSwitch::kFalse}) {
    config_.cuda_graphs = off;
    EXPECT_FALSE(uses_graphs(config_, device_));
    nn::Pass pass(model_, 64, device_);
    start(pass);
    EXPECT_EQ(pass.graphs(), nullptr);
  }
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(GraphUse, SaysWhereItIsAskedForInVain) {
  nn::Pass here(model_, 64), there(model_, 64, device_);
  start(here);
  start(there, /*streamed=*/true);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("no effect on a CPU"), HasSubstr("streamed")));
  EXPECT_EQ(here.graphs(), nullptr);
  EXPECT_EQ(there.graphs(), nullptr);
  MetricsRow row;
  measure_graphs(here, row);
  EXPECT_EQ(row.cuda_graphs_replayed, std::nullopt);
}

TEST_F(GraphUse, ReportsWhatWasRepeated) {
  test::move_to_device(model_);
  nn::Pass pass(model_, 64, device_);
  start(pass);
  run(pass, 5);
  MetricsRow row;
  measure_graphs(pass, row);
  const int64_t pieces = 2 * 4;  // layers, and pieces of each
  EXPECT_EQ(row.cuda_graphs_recorded, pieces);
  EXPECT_EQ(*row.cuda_graphs_recorded + *row.cuda_graphs_replayed + *row.cuda_graphs_plain, 5 * pieces);
  EXPECT_GE(*row.cuda_graphs_replayed, 2 * pieces);
  EXPECT_THAT(said_, IsEmpty());
  GraphWarning warning;
  EXPECT_EQ(warning.look(pass), std::nullopt);
}

TEST_F(GraphUse, WarnsOnceWhereRecordingFailed) {
  test::move_to_device(model_);
  nn::Pass pass(model_, 64, device_);
  start(pass);
  constexpr int kEccError = 214;
  emulator::fail_call("cudaGraphInstantiate", 1, kEccError);
  run(pass, 4);
  GraphWarning warning;
  const std::optional<std::string> text = warning.look(pass);
  ASSERT_TRUE(text);
  EXPECT_THAT(*text, HasSubstr("without CUDA graphs"));
  EXPECT_THAT(*text, HasSubstr("cudaGraphInstantiate"));
  EXPECT_EQ(warning.look(pass), std::nullopt);
}

// Attention's outputs lie in the arena then, and not in LibTorch's memory; passes are filled up.
TEST(PlanWithGraphs, CountsKeptOutputsOnceAndWholePasses) {
  PlanInput plain;
  plain.model = test::tiny_model({}).config;
  plain.device = PlanDevice::kCuda;
  plain.choices.recompute.assign(static_cast<size_t>(plain.model.num_hidden_layers), {Recompute::kNone});
  PlanInput graphs = plain;
  graphs.cuda_graphs = true;
  set_batch(plain, 2, 200, 200);
  set_batch(graphs, 2, 200, 200);
  EXPECT_EQ(plain.pass_tokens, 400);
  EXPECT_EQ(graphs.pass_tokens, 512);
  plain.pass_tokens = 512;
  const StepMemory without = planned_step(plain), with = planned_step(graphs);
  const int64_t outputs = plain.model.num_hidden_layers * 512 * plain.model.q_width() * plain.element_bytes;
  EXPECT_EQ(with.saved_bytes, without.saved_bytes + outputs);
  EXPECT_EQ(with.kept_outside_bytes, without.kept_outside_bytes - outputs);
  graphs.device = PlanDevice::kCpu;
  set_batch(graphs, 2, 200, 200);
  PlanInput cpu = graphs;
  cpu.cuda_graphs = false;
  EXPECT_EQ(planned_step(graphs).saved_bytes, planned_step(cpu).saved_bytes) << "no effect on a CPU";
}

}  // namespace
}  // namespace nibble::trainer
