#include "trainer/checkpoint_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "core/error.h"
#include "io/checkpoint.h"
#include "tests/support/golden_path.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"
#include "trainer/training_model.h"

namespace nibble::trainer {
namespace {
namespace fs = std::filesystem;
using ::testing::HasSubstr;

// A run whose state changes with every step; its gradients are whatever the model's tensors hold, filled once.
struct SavedRun {
  explicit SavedRun(Optim optim = Optim::kAdamwTorch) : model(test::tiny_model({})), optimizer({{}, optim}, filled(parameters(model))) {
    adapter = io::adapter_config_of({}, "base");
    state.seed = 7;
  }
  static std::vector<optim::ParamRef> filled(std::vector<optim::ParamRef> params) {
    for (size_t i = 0; i < params.size(); ++i) params[i].grad.fill_(0.01 * static_cast<double>(i + 1));
    return params;
  }
  void step() {
    optimizer.step(1e-2, 1, 0.0);
    ++state.global_step;
  }
  CheckpointParts parts() { return {folder, metrics, model, adapter, optimizer, &account}; }
  CheckpointOptions options(bool in_background, int64_t limit = 0) const { return {"lora_r: 4\n", limit, in_background}; }
  std::string file(int64_t step, const char* name) const { return test::file_bytes(folder.path() / io::checkpoint_name(step) / name); }

  test::TemporaryFolder temporary;
  RunFolder folder{temporary / "run"};
  MetricsLog metrics{folder.metrics_path()};
  MemoryAccount account;
  nn::Model model;
  io::AdapterConfig adapter;
  optim::Optimizer optimizer;
  RunState state;
  std::vector<std::string> said;
  std::function<void(const std::string&)> say = [this](const std::string& text) { said.push_back(text); };
};

constexpr const char* kFiles[] = {"adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json", "config.yaml", "MANIFEST.json"};

class WriterOf : public testing::TestWithParam<Optim> {};
INSTANTIATE_TEST_SUITE_P(Optimizers, WriterOf, testing::Values(Optim::kAdamwTorch, Optim::kAdamw8bit, Optim::kLion32bit, Optim::kPagedAdamw8bit));

TEST_P(WriterOf, HoldsTheStateOfItsMomentWhateverTheRunDoesMeanwhile) {
  SavedRun waiting(GetParam()), going_on(GetParam());
  CheckpointWriter in_place(waiting.parts(), waiting.options(false), waiting.say), beside(going_on.parts(), going_on.options(true), going_on.say);
  for (int64_t step = 1; step <= 3; ++step) {
    waiting.step();
    in_place.save(waiting.state);
    going_on.step();
    beside.save(going_on.state);
    for (int i = 0; i < 5; ++i) going_on.optimizer.step(1e-2, 1, 0.0);  // over what is being written
    beside.wait();
    for (const char* name : kFiles) EXPECT_EQ(going_on.file(step, name), waiting.file(step, name)) << name << " of step " << step;
    EXPECT_EQ(io::check_checkpoint(going_on.folder.path() / io::checkpoint_name(step), io::CheckDepth::kChecksums).state, io::CheckpointState::kGood);
    // Back to where the other is.
    for (int i = 0; i < 5; ++i) waiting.optimizer.step(1e-2, 1, 0.0);
  }
}

TEST(CheckpointWriter, RotatesAndRemovesWhatARunWasLeftFor) {
  SavedRun run;
  CheckpointWriter writer(run.parts(), run.options(true, 2), run.say);
  for (int i = 0; i < 4; ++i) {
    run.step();
    writer.save(run.state);
  }
  writer.wait();
  EXPECT_FALSE(fs::exists(run.folder.path() / "checkpoint-2"));
  EXPECT_TRUE(fs::exists(run.folder.path() / "checkpoint-3") && fs::exists(run.folder.path() / "checkpoint-4"));
  run.state.global_step = 3;
  writer.save(run.state);
  writer.wait();
  EXPECT_FALSE(fs::exists(run.folder.path() / "checkpoint-4"));
}

// Where the run folder was, there is a file now: nothing can be written.
void take_folder_away(const SavedRun& run) {
  fs::rename(run.folder.path(), run.temporary / "elsewhere");
  test::put_file(run.folder.path(), "not a folder");
}

TEST(CheckpointWriter, TellsAFailureOfTheBackgroundAtTheNextCall) {
  for (const bool by_saving : {false, true}) {
    SavedRun run;
    CheckpointWriter writer(run.parts(), run.options(true), run.say);
    writer.wait();
    take_folder_away(run);
    run.step();
    EXPECT_NO_THROW(writer.save(run.state));
    try {
      by_saving ? writer.save(run.state) : writer.wait();
      FAIL() << "no error";
    } catch (const IoError& error) {
      EXPECT_THAT(error.message(), HasSubstr("the run folder was deleted, moved or replaced"));
    }
    EXPECT_NO_THROW(writer.wait());  // told once
  }
}

TEST(CheckpointWriter, SaysWhatNobodyAskedForAnymore) {
  SavedRun run;
  {
    CheckpointWriter writer(run.parts(), run.options(true), run.say);
    take_folder_away(run);
    run.step();
    writer.save(run.state);
  }
  ASSERT_EQ(run.said.size(), 1u);
  EXPECT_THAT(run.said[0], HasSubstr("the run folder was deleted, moved or replaced"));
}

TEST(CheckpointWriter, CountsItsTime) {
  SavedRun run;
  CheckpointWriter writer(run.parts(), run.options(true), run.say);
  EXPECT_EQ(writer.take_blocked_s(), 0.0);
  run.step();
  writer.save(run.state);
  writer.wait();
  EXPECT_GT(writer.longest().blocked_s, 0.0);
  EXPECT_GT(writer.longest().total_s, writer.longest().blocked_s);
  EXPECT_EQ(writer.take_blocked_s(), writer.longest().blocked_s);
  EXPECT_EQ(writer.take_blocked_s(), 0.0);
}

}  // namespace
}  // namespace nibble::trainer
