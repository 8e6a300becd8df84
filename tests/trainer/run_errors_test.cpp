// Units: trainer/cmd_train trainer/cmd_config trainer/diagnostics trainer/commands
// Bad input from the command line: the exit code, the place in --json's last line of stderr, and nothing in the next run's way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/run_binary.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using test::ProgramResult;
using test::put_file;
using test::RunWorkshop;
using testing::EndsWith;
using testing::HasSubstr;

void expect_error(const ProgramResult& result, int exit_code, const std::string& name, const std::string& message) {
  ASSERT_EQ(result.exit_code, exit_code) << result.err;
  EXPECT_EQ(result.out, "");
  const auto error = result.error();
  EXPECT_EQ(error.at("error"), name);
  EXPECT_THAT(error.at("message"), HasSubstr(message));
  for (const char* key : {"file", "line", "column"}) EXPECT_TRUE(error.contains(key)) << key;
}

void expect_file(const ProgramResult& result, const std::string& ending) {
  EXPECT_THAT(result.error().at("file").dump(), EndsWith(ending + "\""));
}

TEST(CommandLine, RefusesUnknownVerbsAndFlagsWith2) {
  const RunWorkshop shop;
  expect_error(shop.nibble({"trian", "x.yaml", "--json"}), 2, "UsageError", "did you mean 'train'?");
  expect_error(shop.nibble({"train", shop("run.yaml"), "--json", "--resum"}), 2, "UsageError", "--resum");
  EXPECT_EQ(shop.nibble({}).exit_code, 2);
}

TEST(BadConfiguration, NamesTheLineOfATypo) {
  const RunWorkshop shop;
  put_file(shop / "run.yaml", "leraning_rate: 1\n" + file_bytes(shop / "run.yaml"));
  const auto result = shop.train("run");
  expect_error(result, 2, "ConfigError", "did you mean 'learning_rate'?");
  EXPECT_THAT(result.err, HasSubstr("run.yaml:1:1"));
  EXPECT_FALSE(fs::exists(shop / "run"));
  EXPECT_EQ(shop.nibble({"config", "check", shop("run.yaml")}).exit_code, 2);
}

TEST(BadConfiguration, RefusesAMissingFileOrBadOverride) {
  const RunWorkshop shop;
  EXPECT_NE(shop.nibble({"train", shop("absent.yaml"), "--json"}).exit_code, 0);
  expect_error(shop.train("run", {"lora_r=0"}), 2, "ConfigError", "lora_r");
  EXPECT_FALSE(fs::exists(shop / "run"));
}

TEST(BadData, NamesTheFileAndLine) {
  const RunWorkshop shop;
  put_file(shop / "rows.jsonl", RunWorkshop::row(1) + "\n" + RunWorkshop::row(2) + "\n{\"input_ids\": [3, 4\n" + RunWorkshop::row(3) + "\n");
  const auto result = shop.train("run");
  ASSERT_EQ(result.exit_code, 3) << result.err;
  expect_file(result, "rows.jsonl");
  EXPECT_EQ(result.error().at("line"), 3);
  EXPECT_EQ(result.error().at("error"), "DataError");
  EXPECT_FALSE(fs::exists(shop / "run"));
}

TEST(BadData, RefusesIdsOutsideTheVocabularyAndMissingFiles) {
  const RunWorkshop shop;
  put_file(shop / "rows.jsonl", RunWorkshop::row(1) + "\n{\"input_ids\": [3, 96]}\n");
  const auto outside = shop.train("run");
  EXPECT_EQ(outside.exit_code, 3) << outside.err;
  EXPECT_EQ(outside.error().at("line"), 2);
  fs::remove(shop / "rows.jsonl");
  const auto missing = shop.train("run");
  expect_error(missing, 3, "DataError", "does not exist");
  expect_file(missing, "rows.jsonl");
}

TEST(BadModel, ATruncatedFileIsDamaged) {
  const RunWorkshop shop;
  fs::resize_file(shop / "model/model.safetensors", fs::file_size(shop / "model/model.safetensors") - 7);
  const auto result = shop.train("run");
  ASSERT_EQ(result.exit_code, 5) << result.err;
  expect_file(result, "model.safetensors");
  EXPECT_EQ(result.error().at("error"), "FormatError");
}

TEST(BadModel, AMissingShardIsNamed) {
  const RunWorkshop shop;
  shop.put_model("qwen2");
  fs::remove(shop / "model/model-00002-of-00003.safetensors");
  const auto result = shop.train("run");
  EXPECT_EQ(result.exit_code, 5) << result.err;
  EXPECT_THAT(result.err, HasSubstr("model-00002-of-00003.safetensors"));
  EXPECT_EQ(result.error().at("error"), "FormatError");
}

TEST(OutputFolder, ThatCannotBeMadeFailsTheRunWith1) {
  const RunWorkshop shop;
  put_file(shop / "file", "x");
  const auto result = shop.train("file/run");
  ASSERT_EQ(result.exit_code, 1) << result.err;
  EXPECT_EQ(result.error().at("error"), "IoError");
  EXPECT_EQ(file_bytes(shop / "file"), "x");
}

TEST(OutputFolder, WithAnEarlierRunIsNotOverwritten) {
  const RunWorkshop shop;
  ASSERT_EQ(shop.train("run", {"max_steps=1"}).exit_code, 0);
  const std::string before = file_bytes(shop / "run/checkpoint-1/adapter_model.safetensors");
  const auto refused = shop.train("run", {"max_steps=1"});
  expect_error(refused, 2, "ConfigError", "--resume");
  EXPECT_EQ(file_bytes(shop / "run/checkpoint-1/adapter_model.safetensors"), before);
}

TEST(OutputFolder, OfARunThatGoesOnIsLocked) {
  const RunWorkshop shop;
  test::TemporaryFolder other;
  test::Program first(other.path(), shop.train_arguments("run", {"max_steps=1000000", "save_steps=0"}));
  while (first.running() && !fs::exists(shop / "run/metrics.jsonl")) ::usleep(2000);
  const auto second = shop.train("run", {"max_steps=1"});
  EXPECT_EQ(second.exit_code, 1) << second.err;
  EXPECT_EQ(second.error().at("error"), "IoError");
  EXPECT_TRUE(first.running());
}

TEST(FullDisk, LeavesEarlierCheckpointsAndNoHalfOne) {
  const RunWorkshop shop;
  ASSERT_EQ(shop.train("whole").exit_code, 0);
  fs::copy(shop / "whole", shop / "run", fs::copy_options::recursive);
  fs::remove_all(shop / "run/checkpoint-8");
  // Between the adapter's size and the optimizer's: saving fails in the middle of the checkpoint.
  const auto adapter = fs::file_size(shop / "whole/checkpoint-8/adapter_model.safetensors");
  const auto optimizer = fs::file_size(shop / "whole/checkpoint-8/optimizer.safetensors");
  ASSERT_LT(adapter, optimizer);
  const std::vector<std::string> resume{"resume", shop("run"), "--json"};
  const auto failed = test::Program(shop.path(), resume, (adapter + optimizer) / 2).wait();
  ASSERT_EQ(failed.exit_code, 1) << failed.err;
  EXPECT_EQ(failed.error().at("error"), "IoError");
  EXPECT_FALSE(fs::exists(shop / "run/checkpoint-8"));
  const auto verified = shop.nibble({"ckpt", "verify", shop("run"), "--json"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out;
  EXPECT_EQ(verified.json().at("checkpoints").size(), 1u);
  ASSERT_EQ(shop.nibble(resume).exit_code, 0);
  for (const char* file : {"adapter_model.safetensors", "optimizer.safetensors"}) {
    EXPECT_TRUE(file_bytes(shop / "run/checkpoint-8" / file) == file_bytes(shop / "whole/checkpoint-8" / file)) << file;
  }
  for (const auto& entry : fs::directory_iterator(shop / "run")) EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr("partial")));
}

}  // namespace
}  // namespace nibble::trainer
