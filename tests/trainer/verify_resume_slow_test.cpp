// Units: trainer/verify_resume trainer/compare_runs trainer/child_run trainer/cmd_verify_resume
// nibble verify-resume, and that what it compares is told apart where it differs.
#include <gmock/gmock.h>

#include "core/error.h"
#include "tests/trainer/same_run.h"
#include "trainer/compare_runs.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using test::put_file;
using test::RunWorkshop;
using testing::AllOf;
using testing::HasSubstr;

// What is in a folder, by name.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(VerifyResume, ProvesARunAndLeavesNothing) {
  const RunWorkshop shop;
  test::TemporaryFolder output;
  const auto proved = test::Program(output.path(), {"verify-resume", shop("run.yaml"), "--json", "--set", "XX"}).wait();
  EXPECT_EQ(proved.exit_code, 2) << "overrides are checked before anything runs";

  const auto before = names_in(shop.path());
  const auto result = test::Program(output.path(), {"verify-resume", shop("run.yaml"), "--json"}).wait();
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.json().at("same"), true);
  EXPECT_EQ(result.json().at("steps"), 6);
  EXPECT_EQ(result.json().at("resumed_from"), 3);
  EXPECT_EQ(result.json().at("metrics_rows"), 6);
  EXPECT_TRUE(result.json().at("difference").is_null());
  // Two factors of seven linears in two layers; of each its values, the master and two moments.
  EXPECT_EQ(result.json().at("tensors"), 28 * 4);
  EXPECT_THAT(result.err, AllOf(HasSubstr("1 of 3"), HasSubstr("killed by SIGKILL after checkpoint-3"), HasSubstr("3 of 3")));
  EXPECT_EQ(names_in(shop.path()), before);

  const auto text = test::Program(output.path(), {"verify-resume", shop("run.yaml"), "--steps", "2", "--set", "optim=lion_8bit"}).wait();
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("the same: 2 steps killed and resumed from checkpoint-1"), HasSubstr("bit for bit")));
}

TEST(VerifyResume, DoesNotTouchARunThatIsThere) {
  const RunWorkshop shop;
  ASSERT_EQ(shop.train("run", {"max_steps=2"}).exit_code, 0);
  const std::string state = file_bytes(shop / "run/checkpoint-2/trainer_state.json");
  const auto kept = shop.nibble({"verify-resume", shop("run.yaml"), "--keep", "--json", "--set", "output_dir=" + shop("run")});
  ASSERT_EQ(kept.exit_code, 0) << kept.err;
  EXPECT_EQ(file_bytes(shop / "run/checkpoint-2/trainer_state.json"), state);
  EXPECT_FALSE(fs::exists(shop / "run/checkpoint-3"));
  const fs::path folder = kept.json().at("folder").get<std::string>();
  EXPECT_EQ(folder.parent_path(), shop.path());
  test::expect_same_run(shop, (folder.filename() / "resumed").string(), (folder.filename() / "whole").string(), 6);
}

TEST(VerifyResume, HandsOnTheErrorOfARun) {
  const RunWorkshop shop;
  put_file(shop / "rows.jsonl", "{\"input_ids\": [3, 4\n");
  const auto bad = shop.nibble({"verify-resume", shop("run.yaml"), "--json"});
  EXPECT_EQ(bad.exit_code, 3) << bad.err;
  EXPECT_EQ(bad.error().at("error"), "DataError");
  EXPECT_EQ(bad.error().at("line"), 1);
  EXPECT_EQ(shop.nibble({"verify-resume", shop("run.yaml"), "--steps", "1"}).exit_code, 2);
}

TEST(VerifyResume, EndsWithItsRunAtASignal) {
  const RunWorkshop shop;
  const auto before = names_in(shop.path());
  test::TemporaryFolder output;
  test::Program program(output.path(), {"verify-resume", shop("run.yaml"), "--steps", "100000"});
  ASSERT_TRUE(test::wait_until(program, [&] { return names_in(shop.path()).size() > before.size(); }));
  ::usleep(300'000);
  program.send(SIGTERM);
  EXPECT_EQ(program.wait().exit_code, 75);
  EXPECT_EQ(names_in(shop.path()), before);
}

class CompareRuns : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(shop_.train("a", {"max_steps=2"}).exit_code, 0);
    fs::copy(shop_ / "a", shop_ / "b", fs::copy_options::recursive);
  }
  RunDifference difference() const {
    const RunComparison compared = compare_runs(shop_ / "a", shop_ / "b", 2);
    EXPECT_TRUE(compared.difference.has_value());
    return compared.difference.value_or(RunDifference{});
  }
  RunWorkshop shop_;
};

TEST_F(CompareRuns, FindsARunEqualToItself) {
  const RunComparison same = compare_runs(shop_ / "a", shop_ / "b", 2);
  EXPECT_FALSE(same.difference) << same.difference->where;
  EXPECT_EQ(same.metrics_rows, 2);
  EXPECT_GT(same.state_fields, 20);
  // Four values each (factor, master, two moments): of rank 4, q and o 64 x 64, k and v 32 x 64, gate and up 128 x 64, down 64 x 128.
  EXPECT_EQ(same.values, 4 * 2 * 4 * (2 * (64 + 64) + 2 * (32 + 64) + 3 * (128 + 64)));
}

TEST_F(CompareRuns, NamesTheFirstTensorAndIndexThatDiffers) {
  const fs::path file = shop_ / "b/checkpoint-2/adapter_model.safetensors";
  std::string bytes = file_bytes(file);
  bytes[bytes.size() - 8] ^= 1;  // the last but one of its float32 values
  put_file(file, bytes);
  const RunDifference found = difference();
  EXPECT_THAT(found.where, AllOf(HasSubstr("adapter_model.safetensors: "), HasSubstr(" [")));
  EXPECT_NE(found.first, found.second);
  EXPECT_THAT(found.first, HasSubstr("(0x"));
}

TEST_F(CompareRuns, LooksAtTheOptimizersMetadata) {
  const fs::path file = shop_ / "b/checkpoint-2/optimizer.safetensors";
  std::string bytes = file_bytes(file);
  const size_t steps = bytes.find("\"steps\":\"2\"");
  ASSERT_NE(steps, std::string::npos);
  bytes[steps + 9] = '3';
  put_file(file, bytes);
  EXPECT_THAT(difference().where, HasSubstr("optimizer.safetensors: metadata"));
}

TEST_F(CompareRuns, LooksAtEveryFieldOfTheState) {
  const fs::path file = shop_ / "b/checkpoint-2/trainer_state.json";
  auto state = nlohmann::ordered_json::parse(file_bytes(file));
  state["memory_choices"] = "others";                  // changes no number
  state["log_history"][1]["step_ms"] = 12345.0;        // measured
  put_file(file, state.dump());
  EXPECT_FALSE(compare_runs(shop_ / "a", shop_ / "b", 2).difference);
  state["log_history"][1]["loss"] = 0.125;
  put_file(file, state.dump());
  EXPECT_EQ(difference().where, "trainer_state.json: /log_history/1/loss");
  EXPECT_EQ(difference().second, "0.125");
}

TEST_F(CompareRuns, LooksAtEveryRowOfTheMetrics) {
  const fs::path file = shop_ / "b/metrics.jsonl";
  const std::string text = file_bytes(file);
  put_file(file, text.substr(0, text.find('\n') + 1));
  EXPECT_EQ(difference().where, "metrics.jsonl");
  EXPECT_EQ(difference().second, "1 rows");
}

TEST_F(CompareRuns, RefusesWhatCannotBeRead) {
  fs::remove(shop_ / "b/checkpoint-2/optimizer.safetensors");
  EXPECT_THROW(compare_runs(shop_ / "a", shop_ / "b", 2), IoError);
}

}  // namespace
}  // namespace nibble::trainer
