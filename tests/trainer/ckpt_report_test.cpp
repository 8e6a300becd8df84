#include "trainer/ckpt_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace nibble::trainer {
namespace {
namespace fs = std::filesystem;
using io::CheckpointInfo;
using io::CheckpointState;

class CkptReportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    run_ = fs::path(::testing::TempDir()) / (std::string("nibble_ckpt_report_") + info->name());
    fs::remove_all(run_);
    fs::create_directories(run_);
    const auto put = [](const fs::path& path) { std::ofstream(path) << "content"; };
    for (const int64_t step : {10, 20}) {
      io::save_checkpoint(run_, step,
                          {"{}", "seed: 1\n",
                           [&](const fs::path& folder) {
                             put(folder / "adapter_config.json");
                             put(folder / "adapter_model.safetensors");
                           },
                           [&](const fs::path& folder) { put(folder / io::kOptimizerFile); }});
    }
  }
  void TearDown() override { fs::remove_all(run_); }
  void change_a_byte() const { std::ofstream(run_ / "checkpoint-20" / io::kOptimizerFile) << "c0ntent"; }
  fs::path run_;
};

TEST_F(CkptReportTest, OnlyVerifyingReadsEveryByte) {
  change_a_byte();
  const auto listed = find_checkpoints(run_, io::CheckDepth::kSizes);
  ASSERT_EQ(listed.size(), 2u);
  EXPECT_EQ(listed[1].state, CheckpointState::kGood);
  EXPECT_EQ(ckpt_verdict(listed), ExitCode::kOk);
  const auto verified = find_checkpoints(run_, io::CheckDepth::kChecksums);
  EXPECT_EQ(verified[0].state, CheckpointState::kGood);
  EXPECT_EQ(verified[1].state, CheckpointState::kDamaged);
  EXPECT_EQ(ckpt_verdict(verified), ExitCode::kDamagedFile);
}

TEST_F(CkptReportTest, TakesASingleCheckpointToo) {
  for (const fs::path& path : {run_ / "checkpoint-10", run_ / "checkpoint-10" / ""}) {
    const auto found = find_checkpoints(path, io::CheckDepth::kChecksums);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].step, 10);
    EXPECT_EQ(found[0].state, CheckpointState::kGood);
  }
}

TEST_F(CkptReportTest, AFolderThatIsNotThereIsAnIoError) {
  EXPECT_THROW(find_checkpoints(run_ / "nowhere", io::CheckDepth::kSizes), IoError);
  EXPECT_THROW(find_checkpoints(run_ / "checkpoint-77", io::CheckDepth::kSizes), IoError);
}

TEST_F(CkptReportTest, JsonHasTheContractsFields) {
  change_a_byte();
  const auto json = nlohmann::json::parse(ckpt_json(find_checkpoints(run_, io::CheckDepth::kChecksums)));
  const auto& list = json.at("checkpoints");
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].at("path"), (run_ / "checkpoint-10").string());
  EXPECT_EQ(list[0].at("step"), 10);
  EXPECT_EQ(list[0].at("state"), "good");
  EXPECT_TRUE(list[0].at("reason").is_null());
  EXPECT_EQ(list[1].at("state"), "damaged");
  EXPECT_THAT(list[1].at("reason").get<std::string>(), ::testing::HasSubstr(io::kOptimizerFile));
}

TEST(CkptReport, OfNoCheckpointsIsAnEmptyListAndGood) {
  EXPECT_EQ(ckpt_json({}), "{\"checkpoints\":[]}");
  EXPECT_EQ(ckpt_text({}), "");
  EXPECT_EQ(ckpt_verdict({}), ExitCode::kOk);
}

TEST(CkptReport, TextGivesStatePathAndReason) {
  EXPECT_EQ(ckpt_text({{"run/checkpoint-1", 1, CheckpointState::kGood, ""},
                       {"run/checkpoint-2", 2, CheckpointState::kIncomplete, "config.yaml is missing"}}),
            "good        run/checkpoint-1\nincomplete  run/checkpoint-2  config.yaml is missing\n");
}

TEST(CkptReport, JsonSurvivesPathsThatAreNotUtf8) {
  EXPECT_NO_THROW(nlohmann::json::parse(ckpt_json({{"run\xff/checkpoint-1", 1, CheckpointState::kGood, ""}})));
}

}  // namespace
}  // namespace nibble::trainer
