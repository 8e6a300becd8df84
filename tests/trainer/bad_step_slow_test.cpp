// Units: trainer/bad_step trainer/rewind trainer/run_hooks trainer/record_step trainer/train_loop
// Runs one of whose steps goes wrong, through the binary: each policy, kills and resumes around it (policy (f): bitwise), and what is
// said and written of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/poisoned_run.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::exact_metrics;
using test::file_bytes;
using test::PoisonedWorkshop;
using testing::HasSubstr;
using testing::Not;

const std::vector<std::string> kTenSteps{"max_steps=10", "save_steps=2"};

std::vector<std::string> with(std::vector<std::string> set, const std::vector<std::string>& more) {
  set.insert(set.end(), more.begin(), more.end());
  return set;
}

void expect_same_end(const PoisonedWorkshop& shop, const std::string& run, const std::string& reference) {
  for (const char* file : {"adapter_model.safetensors", "optimizer.safetensors"}) {
    const std::string name = fmt::format("checkpoint-10/{}", file);
    EXPECT_TRUE(file_bytes(shop / run / name) == file_bytes(shop / reference / name)) << run << "/" << name << " differs";
  }
  EXPECT_EQ(exact_metrics(shop / run), exact_metrics(shop / reference));
}

nlohmann::json state_of(const PoisonedWorkshop& shop, const std::string& checkpoint) {
  return nlohmann::json::parse(file_bytes(shop / checkpoint / "trainer_state.json"));
}

class BadStepInDtype : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, BadStepInDtype, testing::Values("float32", "bfloat16"));

TEST_P(BadStepInDtype, IsLeftOutAndTheRunGoesOn) {
  const PoisonedWorkshop shop;
  const auto set = with(kTenSteps, {fmt::format("bnb_4bit_compute_dtype={}", GetParam())});
  const auto run = shop.train("run", set);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const int64_t bad = test::first_lost_step(shop / "run");
  ASSERT_GT(bad, 0);
  EXPECT_EQ(run.json().at("skipped_steps"), 1);
  EXPECT_TRUE(run.json().at("train_loss").is_number());
  EXPECT_EQ(run.json().at("global_step"), 10);
  const auto rows = exact_metrics(shop / "run");
  ASSERT_EQ(rows.size(), 10u);
  for (const auto& row : rows) {
    const bool lost = row.at("step") == bad;
    EXPECT_EQ(row.at("loss").is_null(), lost) << row;
    EXPECT_EQ(row.at("grad_norm").is_null(), lost);
    EXPECT_EQ(row.at("tokens") == 0, lost);
    EXPECT_EQ(row.contains("skipped_steps"), lost);
  }
  EXPECT_THAT(run.err, HasSubstr(fmt::format("step {}: the loss is nan, not finite; its update is left out (1 of at most 5)", bad)));
  EXPECT_THAT(run.err, HasSubstr(fmt::format("step {}/10  epoch {:.2f}  loss -  lr", bad, static_cast<double>(bad) / 10.0)));
  EXPECT_THAT(file_bytes(shop / "run/log.txt"), HasSubstr("its update is left out"));
  EXPECT_EQ(state_of(shop, "run/checkpoint-10").at("skipped_steps"), 1);
  // Adapter and optimizer of the checkpoints around the step.
  const auto made = [&](int step) { return file_bytes(shop / "run" / fmt::format("checkpoint-{}", step) / "optimizer.safetensors"); };
  EXPECT_THAT(made(10), HasSubstr(R"("steps":"9")"));
}

TEST(BadStep, KilledOnEitherSideOfItTheRunEndsTheSame) {
  const PoisonedWorkshop shop;
  ASSERT_EQ(shop.train("whole", kTenSteps).exit_code, 0);
  const int64_t bad = test::first_lost_step(shop / "whole");
  for (int from = 2; from <= 8; from += 2) {
    const std::string run = fmt::format("from-{}", from);
    fs::copy(shop / "whole", shop / run, fs::copy_options::recursive);
    for (int later = from + 2; later <= 10; later += 2) fs::remove_all(shop / run / fmt::format("checkpoint-{}", later));
    const auto resumed = shop.nibble({"resume", shop(run), "--json"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(resumed.json().at("skipped_steps"), 1);
    EXPECT_EQ(resumed.err.find("not finite") != std::string::npos, from < bad) << from;
    expect_same_end(shop, run, "whole");
  }
}

TEST(BadStep, RowsOfSeveralStepsLeaveItOutOfTheirSums) {
  const PoisonedWorkshop shop;
  const auto set = with(kTenSteps, {"logging_steps=10"});
  const auto run = shop.train("run", set);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  ASSERT_EQ(shop.train("each", kTenSteps).exit_code, 0);
  const auto row = exact_metrics(shop / "run").at(0);
  EXPECT_EQ(row.at("skipped_steps"), 1);
  double nll = 0;
  int64_t tokens = 0, trained = 0;
  for (const auto& each : exact_metrics(shop / "each")) {
    tokens += each.at("tokens").get<int64_t>();
    trained += each.at("trained_tokens").get<int64_t>();
    if (each.at("loss").is_number()) nll += each.at("loss").get<double>() * each.at("trained_tokens").get<double>();
  }
  EXPECT_EQ(row.at("tokens"), tokens);
  EXPECT_EQ(row.at("trained_tokens"), trained);
  // (b) nine fp64 quotients multiplied back and added.
  EXPECT_NEAR(row.at("loss").get<double>(), nll / static_cast<double>(trained), 1e-13);
  // A kill between the bad step and its row changes nothing of the row.
  ASSERT_GT(8, test::first_lost_step(shop / "each"));
  fs::remove_all(shop / "run/checkpoint-10");
  ASSERT_EQ(shop.nibble({"resume", shop("run")}).exit_code, 0);
  EXPECT_EQ(exact_metrics(shop / "run").at(0), row);
}

TEST(BadStep, StopsTheRunWhereThatIsThePolicyAndContinuesOtherwise) {
  const PoisonedWorkshop shop;
  ASSERT_EQ(shop.train("skip", kTenSteps).exit_code, 0);
  const int64_t bad = test::first_lost_step(shop / "skip");
  const auto stopped = shop.train("run", with(kTenSteps, {"nan_policy=stop"}));
  EXPECT_EQ(stopped.exit_code, 1) << stopped.err;
  EXPECT_EQ(stopped.out, "");
  EXPECT_EQ(stopped.error().at("error"), "RunError");
  EXPECT_THAT(stopped.error().at("message"), HasSubstr(fmt::format("step {}: the loss is nan", bad)));
  EXPECT_THAT(stopped.error().at("message"), HasSubstr(fmt::format("blackbox-{}", bad)));
  EXPECT_TRUE(fs::exists(shop / "run" / fmt::format("checkpoint-{}/MANIFEST.json", bad - 1)));
  EXPECT_EQ(shop.nibble({"ckpt", "verify", shop("run")}).exit_code, 0);
  const auto again = shop.nibble({"resume", shop("run"), "--json"});
  EXPECT_EQ(again.exit_code, 1);
  const auto resumed = shop.nibble({"resume", shop("run"), "--json", "--set", "nan_policy=skip"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  expect_same_end(shop, "run", "skip");
}

TEST(BadStep, EndsTheRunPastMaxSkippedSteps) {
  const PoisonedWorkshop shop;
  const auto run = shop.train("run", {"max_steps=25", "save_steps=0", "max_skipped_steps=1"});
  EXPECT_EQ(run.exit_code, 1) << run.err;
  EXPECT_THAT(run.error().at("message"), HasSubstr("max_skipped_steps: 1 are left out already"));
  const auto rows = exact_metrics(shop / "run");
  const int64_t end = rows.back().at("step").get<int64_t>();
  EXPECT_GE(end, 10);
  EXPECT_LT(end, 20);
  const std::string last = fmt::format("run/checkpoint-{}", end);
  EXPECT_EQ(state_of(shop, last).at("skipped_steps"), 1);
  const int64_t first = test::first_lost_step(shop / "run");
  for (const int64_t step : {first, end + 1}) {
    EXPECT_THAT(run.error().at("message"), HasSubstr(fmt::format("blackbox-{}", step)));
    EXPECT_TRUE(fs::exists(shop / "run" / fmt::format("blackbox-{}/black_box.json", step)));
  }
  // None at all may be left out.
  EXPECT_EQ(shop.train("none", {"max_steps=10", "max_skipped_steps=0"}).exit_code, 1);
}

class RewoundRun : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Optimizers, RewoundRun, testing::Values("adamw_torch", "paged_adamw_8bit"));

TEST_P(RewoundRun, EndsAsIfTheStepHadBeenLeftOut) {
  const PoisonedWorkshop shop;
  test::put_file(shop / "held_out.jsonl", test::RunWorkshop::row(50) + "\n" + test::RunWorkshop::row(51) + "\n");
  const auto set = with(kTenSteps, {fmt::format("optim={}", GetParam()), "eval_strategy=steps", "eval_steps=3", "validation_file=" + shop("held_out.jsonl")});
  ASSERT_EQ(shop.train("skip", set).exit_code, 0);
  const int64_t bad = test::first_lost_step(shop / "skip");
  ASSERT_GT(bad, 3);  // else there is nothing to go back to
  const auto run = shop.train("run", with(set, {"nan_policy=rewind", "save_steps=3"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, HasSubstr(fmt::format("going back to checkpoint-{}, and leaving it out on the way (1 of at most 5)", (bad - 1) / 3 * 3)));
  EXPECT_EQ(run.json().at("skipped_steps"), 1);
  expect_same_end(shop, "run", "skip");
  EXPECT_EQ(state_of(shop, "run/checkpoint-10").at("left_out_steps"), nlohmann::json{bad});
}

TEST(Rewind, WithoutACheckpointLeavesTheStepOut) {
  const PoisonedWorkshop shop;
  ASSERT_EQ(shop.train("skip", {"max_steps=10", "save_steps=0"}).exit_code, 0);
  const auto run = shop.train("run", {"max_steps=10", "save_steps=0", "nan_policy=rewind"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, HasSubstr("(there is no checkpoint to go back to)"));
  expect_same_end(shop, "run", "skip");
}

// A later checkpoint of a run that was left for this one is none to go back to, nor is a damaged one.
TEST(Rewind, GoesBackToAGoodCheckpointOfItsOwnPast) {
  const PoisonedWorkshop shop;
  ASSERT_EQ(shop.train("whole", kTenSteps).exit_code, 0);
  const int64_t bad = test::first_lost_step(shop / "whole"), newest = (bad - 1) / 2 * 2;
  ASSERT_GE(newest, 4);
  test::put_file(shop / "whole" / fmt::format("checkpoint-{}/optimizer.safetensors", newest), "x");
  const auto run = shop.nibble({"resume", shop("whole"), "--from", "checkpoint-2", "--json", "--set", "nan_policy=rewind", "--set", "save_steps=100"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, HasSubstr(fmt::format("checkpoint-{}: not gone back to, it is damaged", newest)));
  EXPECT_THAT(run.err, HasSubstr(fmt::format("going back to checkpoint-{},", newest - 2)));
  ASSERT_EQ(shop.train("skip", kTenSteps).exit_code, 0);
  expect_same_end(shop, "whole", "skip");
}

TEST(BadStep, ALearningRateThatExplodesEndsTheRun) {
  for (const char* policy : {"skip", "rewind", "stop"}) {
    const test::RunWorkshop shop;
    const auto run = shop.train("run", {"learning_rate=100", "lora_alpha=1000000", "lr_scheduler_type=constant", "weight_decay=1", "max_steps=40", "save_steps=1",
                                        "max_skipped_steps=3", fmt::format("nan_policy={}", policy)});
    EXPECT_EQ(run.exit_code, 1) << policy << ": " << run.err;
    EXPECT_EQ(run.error().at("error"), "RunError");
    EXPECT_THAT(run.error().at("message"), HasSubstr("not finite; nothing was updated, and the run ends"));
    EXPECT_EQ(shop.nibble({"ckpt", "verify", shop("run")}).exit_code, 0);
    for (const auto& row : exact_metrics(shop / "run")) EXPECT_EQ(row.at("loss").is_null(), row.contains("skipped_steps"));
  }
}

TEST(BadStep, ThatCannotBeRecordedDoesNotEndTheRun) {
  const PoisonedWorkshop shop;
  ASSERT_EQ(shop.train("skip", kTenSteps).exit_code, 0);
  const int64_t bad = test::first_lost_step(shop / "skip");
  // A disk that has no room for an optimizer's state.
  const auto optimizer_bytes = fs::file_size(shop / "skip/checkpoint-10/optimizer.safetensors");
  const auto run = test::Program(shop.path(), shop.train_arguments("run", {"max_steps=10", "save_steps=0", "dataset_cache=false"}), optimizer_bytes - 1).wait();
  EXPECT_THAT(run.err, HasSubstr(fmt::format("warning: step {} could not be recorded, the run goes on without", bad)));
  EXPECT_EQ(exact_metrics(shop / "run").size(), 10u);
  EXPECT_EQ(run.exit_code, 1) << run.err;  // the last checkpoint does not fit either
  EXPECT_FALSE(fs::exists(shop / "run" / fmt::format("blackbox-{}", bad)));
}

TEST(Evaluation, ThatIsNotFiniteIsToldAndNeverTheBest) {
  const PoisonedWorkshop shop;
  test::put_file(shop / "bad.jsonl", fmt::format("{{\"input_ids\": [5, 6, {}, 7]}}\n", test::kPoisonedId));
  const auto run = shop.train("run", {"max_steps=4", "max_skipped_steps=4", "eval_strategy=steps", "eval_steps=2", "validation_file=" + shop("bad.jsonl")});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_TRUE(run.json().at("eval_loss").is_null());
  EXPECT_THAT(run.err, HasSubstr("warning: step 2: the evaluation's loss is nan, not finite"));
  const auto rows = exact_metrics(shop / "run");
  EXPECT_TRUE(rows.at(1).at("eval_loss").is_null());
  EXPECT_TRUE(rows.at(1).contains("eval_loss"));
  EXPECT_FALSE(state_of(shop, "run/checkpoint-4").contains("best_metric"));
  const auto scored = shop.nibble({"eval", shop("run"), "--json", "--set", "validation_file=" + shop("bad.jsonl")});
  ASSERT_EQ(scored.exit_code, 0) << scored.err;
  EXPECT_TRUE(scored.json().at("loss").is_null());
  EXPECT_TRUE(scored.json().at("perplexity").is_null());
  EXPECT_THAT(scored.err, HasSubstr("not finite"));
}

}  // namespace
}  // namespace nibble::trainer
