// What the verbs make of data: preprocess fills the cache, train and eval take from it and compute the same, and damage changes no number.
//
// Units: trainer/run_data
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/trainer/run_binary.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using test::put_file;
using test::RunWorkshop;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<fs::path> caches(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(folder, missing)) {
    if (entry.path().extension() == ".tokens") files.push_back(entry.path());
  }
  return files;
}

std::vector<std::string> preprocess(const RunWorkshop& shop, const std::vector<std::string>& set = {}) {
  std::vector<std::string> words{"preprocess", shop("run.yaml"), "--json"};
  for (const std::string& s : set) words.insert(words.end(), {"--set", s});
  return words;
}

double last_loss(const test::ProgramResult& result) { return result.json().at("train_loss").get<double>(); }

TEST(Preprocess, FillsTheCacheThatTrainTakes) {
  const RunWorkshop shop;
  const auto made = shop.nibble(preprocess(shop));
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.err, HasSubstr("data: prepared in "));
  const auto train = made.json().at("train");
  EXPECT_EQ(train.at("examples"), 40);
  EXPECT_EQ(train.at("documents"), 40);
  EXPECT_EQ(train.at("format"), "pretokenized");
  int64_t counted = 0;
  for (const auto& bucket : train.at("lengths")) counted += bucket.at("documents").get<int64_t>();
  EXPECT_EQ(counted, 40);
  EXPECT_TRUE(made.json().at("validation").is_null());
  ASSERT_EQ(caches(shop / "user_cache/nibble/data").size(), 1u);
  const auto first = shop.train("a");
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(first.err, HasSubstr("data: prepared before, taken from "));
  EXPECT_THAT(first.err, Not(HasSubstr("prepared in")));
  const auto without = shop.train("b", {"dataset_cache=false"});
  ASSERT_EQ(without.exit_code, 0) << without.err;
  EXPECT_THAT(without.err, Not(HasSubstr("taken from")));
  EXPECT_EQ(last_loss(first), last_loss(without));
  EXPECT_EQ(caches(shop / "user_cache/nibble/data").size(), 1u);
  for (const auto& entry : fs::directory_iterator(shop / "b")) EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("partial")));
}

TEST(Preprocess, TellsWhatItFoundAndNeedsNoWeights) {
  const RunWorkshop shop;
  std::string rows;
  for (int i = 0; i < 20; ++i) rows += RunWorkshop::row(i) + "\n";
  rows += "{\"input_ids\": 7}\n" + RunWorkshop::row(3) + "\n";
  put_file(shop / "rows.jsonl", rows);
  for (const auto& entry : fs::directory_iterator(shop / "model")) {
    if (entry.path().extension() == ".safetensors") fs::remove(entry.path());
  }
  const auto refused = shop.nibble(preprocess(shop));
  EXPECT_EQ(refused.exit_code, 3) << refused.err;
  EXPECT_EQ(refused.error().at("line"), 21);
  const auto made = shop.nibble(preprocess(shop, {"max_bad_rows=1", "validation_split_ratio=0.25"}));
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const auto out = made.json();
  EXPECT_EQ(out.at("train").at("bad_rows"), 1);
  EXPECT_EQ(out.at("train").at("duplicates"), 1);
  EXPECT_EQ(out.at("train").at("duplicate_places"), nlohmann::json::array({shop("rows.jsonl") + ":22 is " + shop("rows.jsonl") + ":4 again"}));
  EXPECT_EQ(out.at("train").at("documents").get<int>() + out.at("validation").at("documents").get<int>(), 21);
  const auto text = shop.nibble({"preprocess", shop("run.yaml"), "--set", "max_bad_rows=1"});
  EXPECT_THAT(text.out, HasSubstr("train: 22 examples (pretokenized), 21 documents in "));
  EXPECT_THAT(text.out, HasSubstr("1 bad rows left out; 1 are others again"));
  EXPECT_THAT(text.out, HasSubstr("rows.jsonl:21: input_ids: "));
}

TEST(Preprocess, RefusesWhatCannotBe) {
  const RunWorkshop shop;
  EXPECT_EQ(shop.nibble(preprocess(shop, {"train_file=[]"})).exit_code, 2);
  EXPECT_EQ(shop.nibble(preprocess(shop, {"train_file=" + shop("nowhere.jsonl")})).exit_code, 3);
  put_file(shop / "a file", "");
  const auto folder = shop.nibble(preprocess(shop, {"dataset_prepared_path=" + shop("a file") + "/cache"}));
  EXPECT_EQ(folder.exit_code, 1) << folder.err;
  EXPECT_EQ(folder.error().at("error"), "IoError");
  EXPECT_THAT(folder.err, HasSubstr("dataset_prepared_path"));
}

TEST(DataCache, DamagedChangesNoNumber) {
  const RunWorkshop shop;
  const auto first = shop.train("a", {"dataset_prepared_path=" + shop("prepared")});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  ASSERT_EQ(caches(shop / "prepared").size(), 1u);
  const fs::path file = caches(shop / "prepared")[0];
  std::string bytes = file_bytes(file);
  bytes[100] ^= 1;
  put_file(file, bytes);
  const auto second = shop.train("b", {"dataset_prepared_path=" + shop("prepared")});
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_THAT(second.err, HasSubstr("cannot be used, so they are made again: it has damaged tokens"));
  EXPECT_EQ(last_loss(first), last_loss(second));
}

TEST(DataCache, IsSharedByRunsThatStartTogether) {
  const RunWorkshop shop;
  std::vector<std::unique_ptr<test::Program>> programs;
  for (const char* run : {"a", "b", "c"}) {
    fs::create_directories(shop / run);
    auto words = shop.train_arguments(run, {"dataset_prepared_path=" + shop("prepared"), "max_steps=2"});
    programs.push_back(std::make_unique<test::Program>(shop / run, words));
  }
  std::vector<double> losses;
  for (auto& program : programs) {
    const auto result = program->wait();
    ASSERT_EQ(result.exit_code, 0) << result.err;
    losses.push_back(last_loss(result));
  }
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_EQ(losses[0], losses[2]);
  EXPECT_EQ(caches(shop / "prepared").size(), 1u);
}

TEST(ValidationData, ThatIsTrainedOnTooIsTold) {
  const RunWorkshop shop;
  put_file(shop / "eval.jsonl", RunWorkshop::row(5) + "\n" + RunWorkshop::row(500) + "\n");
  const auto trained = shop.train("a", {"validation_file=" + shop("eval.jsonl"), "eval_strategy=steps", "eval_steps=8"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_THAT(trained.err, HasSubstr("warning: 1 of 2 validation documents are trained on too"));
  EXPECT_THAT(trained.err, HasSubstr("eval.jsonl:1 is " + shop("rows.jsonl") + ":6"));
  const auto scored = shop.nibble({"eval", shop("a"), "--json", "--set", "validation_file=" + shop("eval.jsonl")});
  ASSERT_EQ(scored.exit_code, 0) << scored.err;
  EXPECT_THAT(scored.err, HasSubstr("taken from"));
}

TEST(GroupByLength, BeginsWithTheLongestRowAndResumesExactly) {
  const RunWorkshop shop;
  const std::vector<std::string> set{"group_by_length=true", "packing=false"};
  const auto whole = shop.train("whole", set);
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  fs::copy(shop / "whole", shop / "half", fs::copy_options::recursive);
  fs::remove_all(shop / "half/checkpoint-8");
  const auto resumed = shop.nibble({"resume", shop("half"), "--json"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_TRUE(file_bytes(shop / "whole/checkpoint-8/adapter_model.safetensors") == file_bytes(shop / "half/checkpoint-8/adapter_model.safetensors"));
  std::istringstream metrics(file_bytes(shop / "whole/metrics.jsonl"));
  std::string line;
  std::getline(metrics, line);
  // Of 12 to 30 tokens a row; the first step has the longest and those nearest to it.
  EXPECT_GE(nlohmann::json::parse(line).at("tokens").get<int>(), 4 * 24);
}

}  // namespace
}  // namespace nibble::trainer
