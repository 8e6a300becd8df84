// Units: trainer/checkpoint_space
// A disk that is too full is told before anything is written to it: by statvfs, whose answer the fault layer gives here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/faults/faulty_run.h"

namespace nibble::faults {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class FullDisk : public testing::Test {
 protected:
  // Where `free` bytes are free in the folders that the run writes to.
  test::ProgramResult nibble(std::vector<std::string> words, const std::string& free) const {
    words.emplace_back("--json");
    return run_with_faults(shop_.path(), words, {"run", "out", "packed", "data"}, {}, free).program;
  }
  test::ProgramResult train(const std::string& free, std::vector<std::string> settings = {}) const {
    settings.insert(settings.end(), {"max_steps=3", "save_steps=1"});
    return nibble(shop_.train_arguments("run", settings), free);
  }
  void expect_refused(const test::ProgramResult& result, const std::string& what, const std::string& advice) const {
    ASSERT_EQ(result.exit_code, 1) << result.err;
    EXPECT_EQ(result.error().at("error"), "IoError");
    const std::string message = result.error().at("message");
    EXPECT_THAT(message, HasSubstr(what));
    EXPECT_THAT(message, HasSubstr("are free there"));
    EXPECT_THAT(message, HasSubstr(advice));
    EXPECT_TRUE(result.error().at("file").is_string());
  }
  // What was trained to be exported: checkpoint-3 with its adapter.
  void train_for_export() const { ASSERT_EQ(shop_.train("source", {"max_steps=3"}).exit_code, 0); }

  test::RunWorkshop shop_;
};

TEST_F(FullDisk, ThatTakesNoCheckpointStopsTheRunBeforeItsFirstStep) {
  const auto result = train("100000");
  expect_refused(result, "a checkpoint needs ", "save_total_limit");
  for (const auto& entry : fs::directory_iterator(shop_ / "run")) EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr("checkpoint")));
  EXPECT_THAT(result.err, testing::Not(HasSubstr("1/3")));
}

TEST_F(FullDisk, ThatTakesOneCheckpointAndNotAllIsWarnedOf) {
  const auto one = train("300000", {"save_total_limit=1"});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  EXPECT_THAT(one.err, HasSubstr("2 more checkpoints of"));
  fs::remove_all(shop_ / "run");
  EXPECT_THAT(train("300000", {"save_total_limit=0"}).err, HasSubstr("3 more checkpoints of"));
  fs::remove_all(shop_ / "run");
  EXPECT_THAT(train("900000").err, testing::Not(HasSubstr("more checkpoints of")));
}

TEST_F(FullDisk, ThatDoesNotSayWhatIsFreeStopsNothing) {
  for (const char* nonsense : {"fail", "none"}) {
    const auto result = train(nonsense);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    fs::remove_all(shop_ / "run");
  }
}

TEST_F(FullDisk, StopsAnExportBeforeItsFirstByte) {
  train_for_export();
  fs::create_directories(shop_ / "out");
  expect_refused(nibble({"export", shop_("source"), shop_("out/adapter")}, "5000"), "the adapter needs ", "another disk");
  expect_refused(nibble({"export", shop_("source"), shop_("out/merged"), "--format", "merged"}, "5000"), "the merged model needs ", "another disk");
  EXPECT_TRUE(fs::is_empty(shop_ / "out"));
  EXPECT_EQ(nibble({"export", shop_("source"), shop_("out/merged"), "--format", "merged"}, "2000000").exit_code, 0);
}

TEST_F(FullDisk, StopsCachesThatTheRunNeedsAndPassesThoseThatItDoesNot) {
  const std::string folder = "packed_cache_dir=" + shop_("packed");
  fs::create_directories(shop_ / "packed");
  expect_refused(train("10000000", {folder, "base_residency=streamed"}), "the packed cache of this base needs ", "packed_cache_dir");
  EXPECT_FALSE(fs::exists(shop_ / "run/metrics.jsonl") && fs::file_size(shop_ / "run/metrics.jsonl") > 0);
  const auto resident = train("10000000", {folder, "packed_cache=true"});
  EXPECT_EQ(resident.exit_code, 0) << resident.err;
  EXPECT_THAT(resident.err, HasSubstr("no packed cache"));
}

TEST_F(FullDisk, StopsPreparedDataAndPagedStateThatDoNotFit) {
  fs::create_directories(shop_ / "data");
  expect_refused(train("500", {"dataset_prepared_path=" + shop_("data")}), "the end of prepared data needs ", "dataset_prepared_path");
  for (const auto& entry : fs::directory_iterator(shop_ / "data")) EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr(".partial")));
  expect_refused(train("1500000", {"optim=paged_adamw_32bit", "paged_budget_mib=2"}), "paged optimizer state needs ", "8-bit");
}

TEST_F(FullDisk, ForTheResultOfACommandIsAnError) {
  train_for_export();
  fs::remove(shop_ / "stdout.txt");
  fs::create_symlink("/dev/full", shop_ / "stdout.txt");
  test::Program program(shop_.path(), {"ckpt", "list", shop_("source"), "--json"});
  while (program.running()) ::usleep(1000);
  fs::remove(shop_ / "stdout.txt");
  test::put_file(shop_ / "stdout.txt", "");
  const auto result = program.wait();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error().at("message"), HasSubstr("No space left on device"));
}

}  // namespace
}  // namespace nibble::faults
