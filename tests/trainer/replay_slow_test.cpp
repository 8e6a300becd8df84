// Units: trainer/replay trainer/replay_report trainer/record_step trainer/cmd_train
// Recorded steps, made again by the binary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "core/file.h"
#include "io/checkpoint_manifest.h"
#include "tests/trainer/poisoned_run.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using test::PoisonedWorkshop;
using test::put_file;
using testing::HasSubstr;
using testing::Not;

// Every file below a folder with its bytes.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), folder).string()] = file_bytes(entry.path());
  }
  return files;
}

class ReplayInDtype : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, ReplayInDtype, testing::Values("float32", "bfloat16"));

TEST_P(ReplayInDtype, MakesTheStepAgainBitForBitAndWritesNothing) {
  const PoisonedWorkshop shop;
  ASSERT_EQ(shop.train("run", {"max_steps=10", "save_steps=0", fmt::format("bnb_4bit_compute_dtype={}", GetParam())}).exit_code, 0);
  const std::string box = fmt::format("run/blackbox-{}", test::first_lost_step(shop / "run"));
  const auto before = contents(shop / "run");
  const auto replay = shop.nibble({"train", "--replay", shop(box), "--json"});
  ASSERT_EQ(replay.exit_code, 0) << replay.err << replay.out;
  EXPECT_EQ(contents(shop / "run"), before);
  const auto json = replay.json();
  EXPECT_EQ(json.at("repeats"), true);
  EXPECT_EQ(json.at("now").at("reason"), "loss");
  EXPECT_EQ(json.at("now").at("loss_bits"), json.at("recorded").at("loss_bits"));
  EXPECT_EQ(json.at("now").at("hidden"), json.at("recorded").at("hidden"));
  EXPECT_EQ(json.at("now").at("gradients"), json.at("recorded").at("gradients"));
  const auto text = shop.nibble({"train", "--replay", shop(box)});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("the same, bit for bit"));
  EXPECT_THAT(text.out, HasSubstr("not finite first in the hidden states of layers.0"));
  EXPECT_THAT(text.out, HasSubstr("token 4 (" + shop("rows.jsonl:6") + ")"));
  EXPECT_THAT(text.out, HasSubstr("layers.1 "));
  EXPECT_THAT(text.out, Not(HasSubstr("recorded otherwise")));
}

TEST(BlackBoxOfARun, HasTheBatchTheStateAndTheNorms) {
  const PoisonedWorkshop shop;
  ASSERT_EQ(shop.train("run", {"max_steps=10", "save_steps=0"}).exit_code, 0);
  const int64_t bad = test::first_lost_step(shop / "run");
  const fs::path folder = shop / "run" / fmt::format("blackbox-{}", bad);
  const auto box = nlohmann::json::parse(file_bytes(folder / "black_box.json"));
  EXPECT_EQ(box.at("step"), bad);
  EXPECT_EQ(box.at("micro_step"), 2 * (bad - 1));
  EXPECT_EQ(box.at("done"), "skipped");
  EXPECT_EQ(box.at("policy"), "skip");
  EXPECT_TRUE(box.at("loss").is_null());
  ASSERT_EQ(box.at("documents").size(), 4u);
  int poisoned = 0;
  for (const auto& document : box.at("documents")) {
    const auto ids = document.at("ids").get<std::vector<int>>();
    EXPECT_EQ(document.at("tokens"), ids.size());
    EXPECT_EQ(document.at("trained").get<std::string>().size(), ids.size());
    if (document.at("place") != shop("rows.jsonl:6")) continue;
    ++poisoned;
    EXPECT_EQ(ids, (std::vector<int>{5, 6, 7, test::kPoisonedId, 8, 9}));
    EXPECT_EQ(document.at("trained"), "011111");
    EXPECT_EQ(document.at("text"), "\"#$" + std::string(1, static_cast<char>('!' + test::kPoisonedId - 4)) + "%&");
  }
  EXPECT_EQ(poisoned, 1);
  ASSERT_EQ(box.at("hidden").size(), 4u);
  EXPECT_EQ(box.at("hidden").at(0).at("non_finite"), 0);  // the embedding
  EXPECT_GE(box.at("hidden").at(1).at("non_finite"), 1);
  EXPECT_GT(box.at("hidden").at(2).at("non_finite"), box.at("hidden").at(1).at("non_finite"));  // later tokens look at that one
  EXPECT_EQ(box.at("adapter").size(), box.at("gradients").size());
  for (const auto& weight : box.at("adapter")) EXPECT_EQ(weight.at("non_finite"), 0);
  // The state before the step is a whole checkpoint, and none of the run's.
  const std::string state = fmt::format("checkpoint-{}", bad - 1);
  EXPECT_EQ(shop.nibble({"ckpt", "verify", (folder / state).string()}).exit_code, 0);
  const auto listed = shop.nibble({"ckpt", "list", shop("run"), "--json"}).json().at("checkpoints");
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed.at(0).at("step"), 10);
  // Nor is it what a resumed run or an export takes.
  fs::remove_all(shop / "run/checkpoint-10");
  EXPECT_THAT(shop.nibble({"resume", shop("run")}).err, HasSubstr("no good checkpoint, starting from the beginning"));
}

TEST(Replay, WorksWhereTheFolderHasMovedAndWhileTheRunGoesOn) {
  const PoisonedWorkshop shop;
  ASSERT_EQ(shop.train("run", {"max_steps=10", "save_steps=0"}).exit_code, 0);
  const std::string box = fmt::format("blackbox-{}", test::first_lost_step(shop / "run"));
  fs::create_directory(shop / "elsewhere");
  fs::rename(shop / "run", shop / "elsewhere/moved");
  EXPECT_EQ(shop.nibble({"train", "--replay", (shop / "elsewhere/moved" / box).string()}).exit_code, 0);
  // A box alone, sent to somebody.
  fs::copy(shop / "elsewhere/moved" / box, shop / "sent", fs::copy_options::recursive);
  fs::remove_all(shop / "elsewhere");
  EXPECT_EQ(shop.nibble({"train", "--replay", shop("sent")}).exit_code, 0);
  EXPECT_FALSE(fs::exists(shop / "elsewhere"));
}

TEST(Replay, SaysWhereItDoesNotComeOutTheSame) {
  const PoisonedWorkshop shop;
  ASSERT_EQ(shop.train("run", {"max_steps=10", "save_steps=0"}).exit_code, 0);
  const fs::path box = shop / "run" / fmt::format("blackbox-{}", test::first_lost_step(shop / "run"));
  const std::string file = file_bytes(box / "black_box.json");
  const auto with = [&](const std::string& key, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(file);
    json[key] = value;
    put_file(box / "black_box.json", json.dump());
    const auto replay = shop.nibble({"train", "--replay", box.string(), "--json"});
    EXPECT_EQ(replay.exit_code, 1) << replay.err;
    EXPECT_EQ(replay.json().at("repeats"), false);
    return replay.json().at("verdict").get<std::string>();
  };
  EXPECT_THAT(with("loss_bits", "3ff0000000000000"), HasSubstr("the same fault with other bits"));
  EXPECT_THAT(with("reason", "spike"), HasSubstr("has another fault (loss)"));
  put_file(box / "black_box.json", file);
  shop.set_poison(false);
  const auto other_base = shop.nibble({"train", "--replay", box.string(), "--json"});
  EXPECT_EQ(other_base.exit_code, 2) << other_base.err;
  EXPECT_THAT(other_base.error().at("message"), HasSubstr("the base model"));
}

TEST(Replay, OfAFaultThatDoesNotComeAgainBlamesTheMachine) {
  const PoisonedWorkshop shop(/*poisoned=*/false);
  ASSERT_EQ(shop.train("good", {"max_steps=10", "save_steps=0"}).exit_code, 0);
  const PoisonedWorkshop bad;
  ASSERT_EQ(bad.train("run", {"max_steps=10", "save_steps=0"}).exit_code, 0);
  const std::string box = fmt::format("run/blackbox-{}", test::first_lost_step(bad / "run"));
  // The record of a fault on the good base, its files' hashes included.
  const std::string state = fmt::format("{}/checkpoint-{}", box, test::first_lost_step(bad / "run") - 1);
  const auto hash = [](const fs::path& path) { return nlohmann::json::parse(file_bytes(path / "trainer_state.json")).at("base_hash").get<std::string>(); };
  const std::string from = hash(bad / state), to = hash(shop / "good/checkpoint-10");
  ASSERT_EQ(from.size(), to.size());
  bad.set_poison(false);
  std::string text = file_bytes(bad / state / "trainer_state.json");
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from)) text.replace(at, from.size(), to);
  put_file(bad / state / "trainer_state.json", text);
  const fs::path manifest_path = bad / state / "MANIFEST.json";
  io::Manifest manifest = io::parse_manifest(file_bytes(manifest_path), manifest_path);
  manifest.files.at("trainer_state.json").xxh3_128 = xxh3_128(text);
  put_file(manifest_path, io::render_manifest(manifest));
  const auto replay = bad.nibble({"train", "--replay", bad(box), "--json"});
  ASSERT_EQ(replay.exit_code, 1) << replay.err;
  EXPECT_THAT(replay.json().at("verdict"), HasSubstr("the step goes well here"));
  EXPECT_THAT(replay.json().at("verdict"), HasSubstr("the machine's fault"));
}

TEST(Replay, RefusesWhatIsNoRecordOrADamagedOne) {
  const PoisonedWorkshop shop;
  ASSERT_EQ(shop.train("run", {"max_steps=10", "save_steps=0"}).exit_code, 0);
  const int64_t bad = test::first_lost_step(shop / "run");
  const fs::path box = shop / "run" / fmt::format("blackbox-{}", bad);
  for (const std::string& wrong : {shop("run"), shop("absent"), shop("run.yaml")}) {
    const auto refused = shop.nibble({"train", "--replay", wrong, "--json"});
    EXPECT_EQ(refused.exit_code, 2) << wrong;
    EXPECT_THAT(refused.error().at("message"), HasSubstr("is no record of a step"));
  }
  EXPECT_EQ(shop.nibble({"train", "--replay", box.string(), shop("run.yaml")}).exit_code, 2);
  EXPECT_EQ(shop.nibble({"train"}).exit_code, 2);
  const fs::path optimizer = box / fmt::format("checkpoint-{}/optimizer.safetensors", bad - 1);
  std::string bytes = file_bytes(optimizer);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  put_file(optimizer, bytes);
  EXPECT_EQ(shop.nibble({"train", "--replay", box.string()}).exit_code, 5);
  fs::remove_all(optimizer.parent_path());
  EXPECT_EQ(shop.nibble({"train", "--replay", box.string()}).exit_code, 5);
  put_file(box / "black_box.json", "{\"format\": 1}");
  EXPECT_EQ(shop.nibble({"train", "--replay", box.string()}).exit_code, 5);
}

// Rows learned by heart, and one that is not among them.
TEST(LossSpike, IsNoticedAndFollowsItsPolicy) {
  const test::RunWorkshop shop;
  std::string rows;
  constexpr int kOdd = 130;  // the row; 4 a step
  for (int i = 0; i < 160; ++i) rows += i == kOdd ? "{\"input_ids\": [90, 4, 88, 5, 77, 6, 70, 7, 66, 8, 60, 9]}\n" : "{\"input_ids\": [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]}\n";
  put_file(shop / "rows.jsonl", rows);
  const std::vector<std::string> set{"max_steps=40", "save_steps=10", "shuffle=false", "learning_rate=2e-2", "lora_dropout=0", "loss_spike_threshold=4", "packing=false"};
  const auto with = [&](const std::string& run, const std::string& policy) {
    auto all = set;
    all.push_back("loss_spike_policy=" + policy);
    return shop.train(run, all);
  };
  constexpr int kStep = kOdd / 4 + 1;
  const auto none = with("none", "none"), warn = with("warn", "warn"), skip = with("skip", "skip"), rewind = with("rewind", "rewind"), stop = with("stop", "stop");
  for (const auto* run : {&none, &warn, &skip, &rewind}) ASSERT_EQ(run->exit_code, 0) << run->err;
  EXPECT_FALSE(fs::exists(shop / "none" / fmt::format("blackbox-{}", kStep)));
  EXPECT_THAT(warn.err, HasSubstr(fmt::format("warning: step {}: the loss is", kStep)));
  // A warning changes nothing.
  const std::string last = "checkpoint-40/optimizer.safetensors";
  EXPECT_EQ(file_bytes(shop / "warn" / last), file_bytes(shop / "none" / last));
  EXPECT_NE(file_bytes(shop / "skip" / last), file_bytes(shop / "none" / last));
  EXPECT_EQ(file_bytes(shop / "rewind" / last), file_bytes(shop / "skip" / last));
  EXPECT_EQ(test::exact_metrics(shop / "rewind"), test::exact_metrics(shop / "skip"));
  EXPECT_EQ(skip.json().at("skipped_steps"), 1);
  EXPECT_EQ(test::first_lost_step(shop / "skip"), kStep);
  EXPECT_EQ(stop.exit_code, 1);
  EXPECT_THAT(stop.error().at("message"), HasSubstr("far above those before it"));
  for (const char* run : {"warn", "skip", "rewind", "stop"}) {
    const auto replay = shop.nibble({"train", "--replay", (shop / run / fmt::format("blackbox-{}", kStep)).string(), "--json"});
    EXPECT_EQ(replay.exit_code, 0) << run << ": " << replay.err;
    EXPECT_EQ(replay.json().at("now").at("reason"), "spike");
  }
}

}  // namespace
}  // namespace nibble::trainer
