// Units: trainer/resume trainer/allowed_changes trainer/run_start trainer/run_change trainer/cmd_resume trainer/cmd_train
// What may change under a run that is continued, what may not, and what is said of either.
#include <gmock/gmock.h>

#include "core/file.h"
#include "io/checkpoint_manifest.h"
#include "tests/trainer/same_run.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using test::ProgramResult;
using test::put_file;
using test::RunWorkshop;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ContinuedRun : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(shop_.train("run", {"max_steps=4", "save_steps=2"}).exit_code, 0); }
  ProgramResult resume(const std::vector<std::string>& words) const {
    std::vector<std::string> all{"resume", shop_("run"), "--json"};
    all.insert(all.end(), words.begin(), words.end());
    return shop_.nibble(all);
  }
  nlohmann::json state(int step) const { return nlohmann::json::parse(file_bytes(shop_ / fmt::format("run/checkpoint-{}/trainer_state.json", step))); }
  // Changes a file of the newest checkpoint as somebody would who also knows how to write a manifest: another version of nibble.
  void rewrite(const std::string& file, const std::function<void(std::string&)>& change) const {
    const fs::path checkpoint = shop_ / "run/checkpoint-4";
    std::string text = file_bytes(checkpoint / file);
    change(text);
    put_file(checkpoint / file, text);
    io::Manifest manifest = io::parse_manifest(file_bytes(checkpoint / io::kManifestFile), checkpoint);
    manifest.files[file] = {static_cast<int64_t>(text.size()), xxh3_128(text)};
    put_file(checkpoint / io::kManifestFile, io::render_manifest(manifest));
  }
  RunWorkshop shop_;
};

TEST_F(ContinuedRun, EveryKeyThatMustMatchIsRefusedWithBothValuesAndTheWayOut) {
  for (const auto& [change, text] : std::vector<std::pair<std::string, std::string>>{
           {"lora_dropout=0.2", "lora_dropout: 0.1 in the checkpoint, 0.2 now"},
           {"max_steps=9", "max_steps: 4 in the checkpoint, 9 now"},
           {"seed=1", "seed: 42 in the checkpoint, 1 now"},
           {"gradient_accumulation_steps=4", "gradient_accumulation_steps: 2 in the checkpoint, 4 now"},
           {"lr_scheduler_type=linear", "lr_scheduler_type: cosine in the checkpoint, linear now"}}) {
    const ProgramResult refused = resume({"--set", change});
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_THAT(refused.error().at("message"), AllOf(HasSubstr(text), HasSubstr("--allow-changed " + change.substr(0, change.find('=')))));
  }
}

TEST_F(ContinuedRun, WhatItsTensorsAreOfCannotBeAllowed) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{{"lora_r", "8"}, {"lora_alpha", "8"}, {"optim", "lion_32bit"}}) {
    const ProgramResult refused = resume({"--set", key + "=" + value});
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_THAT(refused.error().at("message"), AllOf(HasSubstr(key + ": "), Not(HasSubstr("--allow-changed"))));
    const ProgramResult insisted = resume({"--set", key + "=" + value, "--allow-changed", key});
    EXPECT_EQ(insisted.exit_code, 2);
    EXPECT_THAT(insisted.error().at("message"), HasSubstr("--allow-changed " + key));
  }
}

TEST_F(ContinuedRun, IsExtendedWhereThatIsAllowedAndRemembersIt) {
  const ProgramResult longer = resume({"--set", "max_steps=9", "--allow-changed", "max_steps"});
  ASSERT_EQ(longer.exit_code, 0) << longer.err;
  EXPECT_EQ(longer.json().at("global_step"), 9);
  EXPECT_THAT(longer.err, HasSubstr("allowed change: max_steps is 9 now, it was 4"));
  EXPECT_THAT(file_bytes(shop_ / "run/log.txt"), HasSubstr("allowed change: max_steps is 9 now, it was 4"));
  const auto changes = state(9).at("allowed_changes");
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0], (nlohmann::json{{"step", 4}, {"what", "max_steps"}, {"before", "4"}, {"now", "9"}}));
  // From then on it is a run of nine steps.
  fs::remove_all(shop_ / "run/checkpoint-9");
  const ProgramResult again = resume({});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(state(9).at("allowed_changes"), changes);
}

TEST_F(ContinuedRun, TakesOtherDataWhereThatIsAllowed) {
  std::string rows;
  for (int i = 0; i < 9; ++i) rows += RunWorkshop::row(i + 100) + "\n";
  put_file(shop_ / "rows.jsonl", rows);
  const std::vector<std::string> longer{"--from", "checkpoint-2", "--set", "max_steps=20", "--allow-changed", "max_steps"};
  const ProgramResult refused = resume(longer);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.error().at("message"), AllOf(HasSubstr("the training data: hash "), HasSubstr("--allow-changed data")));
  auto words = longer;
  words.insert(words.end(), {"--allow-changed", "data"});
  const ProgramResult taken = resume(words);
  ASSERT_EQ(taken.exit_code, 0) << taken.err;
  EXPECT_THAT(taken.err, AllOf(HasSubstr("allowed change: data is hash"), HasSubstr("it goes on at the next epoch")));
  // The state is of the new data now: it goes on without a word.
  fs::remove_all(shop_ / "run/checkpoint-20");
  const ProgramResult again = resume({});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.err, Not(HasSubstr("allowed change")));
}

TEST_F(ContinuedRun, TakesAnotherBaseOfTheSameShapesOnly) {
  // Another base: every weight's file the same but one byte of one weight.
  const fs::path weights = shop_ / "model/model.safetensors";
  std::string bytes = file_bytes(weights);
  bytes[bytes.size() / 2] ^= 1;
  for (size_t i = bytes.size() / 2; i < bytes.size(); i += 512) bytes[i] ^= 1;  // where the fingerprint looks
  put_file(weights, bytes);
  const ProgramResult refused = resume({});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.error().at("message"), AllOf(HasSubstr("the base model: hash "), HasSubstr("--allow-changed base")));
  EXPECT_EQ(resume({"--allow-changed", "base", "--set", "max_steps=5", "--allow-changed", "max_steps"}).exit_code, 0);

  shop_.put_model("qwen3");
  const ProgramResult other = resume({"--allow-changed", "base", "--allow-changed", "tokenizer", "--allow-changed", "data"});
  EXPECT_EQ(other.exit_code, 5) << other.err;
  EXPECT_EQ(other.error().at("error"), "FormatError");
}

TEST_F(ContinuedRun, NamesThatMeanNothingAreRefused) {
  for (const auto& [name, text] : std::vector<std::pair<std::string, std::string>>{
           {"max_step", "did you mean 'max_steps'?"}, {"dta", "did you mean 'data'?"}, {"save_steps", "may differ anyway"}, {"", "name a key"},
           {"model_name_or_path", "--allow-changed base"}}) {
    const ProgramResult refused = resume({"--allow-changed", name});
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_THAT(refused.error().at("message"), HasSubstr(text)) << name;
  }
  const ProgramResult fresh = shop_.nibble({"train", shop_("run.yaml"), "--json", "--allow-changed", "data"});
  EXPECT_EQ(fresh.exit_code, 2);
  EXPECT_THAT(fresh.error().at("message"), HasSubstr("add --resume"));
}

TEST_F(ContinuedRun, TellsWhichKeysDifferThatMay) {
  const ProgramResult told = resume({"--set", "logging_steps=5", "--set", "save_total_limit=7", "--set", "max_time=1h"});
  ASSERT_EQ(told.exit_code, 0) << told.err;
  EXPECT_THAT(told.err, AllOf(HasSubstr("logging_steps is 5 now, it was 1"), HasSubstr("save_total_limit is 7 now, it was 0"), HasSubstr("max_time is 1h now, it was none")));
  EXPECT_THAT(told.err, Not(HasSubstr("output_dir is")));
}

TEST_F(ContinuedRun, APathToTheSameFileIsNoDifference) {
  fs::create_directory_symlink(shop_.path(), shop_ / "elsewhere");
  const ProgramResult same = resume({"--set", "train_file=" + shop_("elsewhere/rows.jsonl"), "--set", "model_name_or_path=" + shop_("elsewhere/model")});
  ASSERT_EQ(same.exit_code, 0) << same.err;
  EXPECT_THAT(same.err, AllOf(Not(HasSubstr("train_file is")), Not(HasSubstr("model_name_or_path is"))));
  fs::rename(shop_ / "rows.jsonl", shop_ / "moved.jsonl");
  const ProgramResult moved = resume({"--set", "train_file=" + shop_("moved.jsonl")});
  ASSERT_EQ(moved.exit_code, 0) << moved.err;
  EXPECT_THAT(moved.err, HasSubstr("train_file is "));
}

TEST_F(ContinuedRun, AMovedRunGoesOn) {
  fs::rename(shop_ / "run", shop_ / "moved");
  const ProgramResult moved = shop_.nibble({"resume", shop_("moved/"), "--from", "checkpoint-2/"});
  ASSERT_EQ(moved.exit_code, 0) << moved.err;
  EXPECT_THAT(moved.err, AllOf(HasSubstr("at step 2 of 4"), HasSubstr("output_dir is")));
}

TEST_F(ContinuedRun, AnEarlierVersionsStateIsRead) {
  rewrite("trainer_state.json", [](std::string& text) {
    auto state = nlohmann::ordered_json::parse(text);
    for (const char* later : {"skipped_steps", "loss_watch", "allowed_changes"}) state.erase(later);
    text = state.dump(2) + "\n";
  });
  EXPECT_EQ(resume({}).exit_code, 0);
}

TEST_F(ContinuedRun, WhatAnotherVersionWroteIsRefusedWith5) {
  rewrite("config.yaml", [](std::string& text) { text += "key_of_the_future: 1\n"; });
  const ProgramResult config = resume({});
  EXPECT_EQ(config.exit_code, 5) << config.err;
  EXPECT_THAT(config.error().at("message"), AllOf(HasSubstr("key_of_the_future"), HasSubstr("version")));
  EXPECT_THAT(config.error().at("file").get<std::string>(), testing::EndsWith("checkpoint-4/config.yaml"));

  for (const std::string wrong : {"{", "[]", "{\"global_step\": 4}", "{\"global_step\": \"four\"}"}) {
    rewrite("trainer_state.json", [&](std::string& text) { text = wrong; });
    const ProgramResult state = resume({});
    EXPECT_EQ(state.exit_code, 5) << state.err;
    EXPECT_THAT(state.error().at("file").get<std::string>(), testing::EndsWith("trainer_state.json"));
  }
}

TEST_F(ContinuedRun, WithoutItsFilesAnOlderCheckpointIsTaken) {
  for (const char* file : {"trainer_state.json", "config.yaml", "MANIFEST.json", "optimizer.safetensors"}) {
    const std::string kept = file_bytes(shop_ / "run/checkpoint-4" / file);
    fs::remove(shop_ / "run/checkpoint-4" / file);
    const ProgramResult resumed = resume({});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_THAT(resumed.err, AllOf(HasSubstr("checkpoint-4: skipped"), HasSubstr(file), HasSubstr("at step 2 of 4")));
  }
}

TEST_F(ContinuedRun, IsNotStartedOverWhereNoCheckpointIsGood) {
  for (const char* step : {"2", "4"}) put_file(shop_ / fmt::format("run/checkpoint-{}/adapter_model.safetensors", step), "x");
  for (const auto& words : {std::vector<std::string>{"resume", shop_("run"), "--json"},
                            {"train", shop_("run.yaml"), "--resume", "--json", "--set", "max_steps=4", "--set", "save_steps=2"}}) {
    const ProgramResult refused = shop_.nibble(words);
    EXPECT_EQ(refused.exit_code, 5) << refused.err;
    EXPECT_THAT(refused.err, AllOf(HasSubstr("checkpoint-4: skipped"), HasSubstr("checkpoint-2: skipped"), HasSubstr("none of its 2 checkpoints is good")));
  }
  EXPECT_TRUE(fs::exists(shop_ / "run/checkpoint-4/optimizer.safetensors"));
  // Without any, as after a crash before the first one, it starts.
  for (const char* step : {"2", "4"}) fs::remove_all(shop_ / fmt::format("run/checkpoint-{}", step));
  EXPECT_EQ(resume({}).exit_code, 0);
}

TEST_F(ContinuedRun, ListsItsCheckpointsWhileItGoesOn) {
  test::TemporaryFolder other;
  test::Program program(other.path(), {"resume", shop_("run"), "--set", "max_steps=1000000", "--allow-changed", "max_steps", "--set", "save_steps=1",
                                       "--set", "save_total_limit=2"});
  const auto before = test::bytes_of(shop_ / "run/metrics.jsonl");
  ASSERT_TRUE(test::wait_until(program, [&] { return test::bytes_of(shop_ / "run/metrics.jsonl") > before; }));
  for (int i = 0; i < 20; ++i) {
    for (const char* what : {"list", "verify"}) {
      const ProgramResult listed = shop_.nibble({"ckpt", what, shop_("run"), "--json"});
      EXPECT_EQ(listed.exit_code, 0) << listed.out << listed.err;
      EXPECT_FALSE(listed.json().at("checkpoints").empty());
    }
  }
  EXPECT_TRUE(program.running());
}

}  // namespace
}  // namespace nibble::trainer
