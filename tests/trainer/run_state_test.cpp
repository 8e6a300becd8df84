#include "trainer/run_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace nibble::trainer {
namespace {
using ::testing::HasSubstr;

RunState some_state() {
  RunState state;
  state.global_step = 120;
  state.max_steps = 200;
  state.epoch = 1.0 / 3.0;
  state.seed = std::numeric_limits<uint64_t>::max();
  state.micro_step = 480;
  state.cursor_epoch = 1;
  state.cursor_row = 37;
  state.num_input_tokens_seen = int64_t{1} << 40;
  state.pending_nll = std::nextafter(123.456, 200.0);
  state.pending_steps = 5;
  state.pending_skipped_steps = 1;
  state.skipped_steps = 3;
  state.left_out_steps = {121, 130};
  state.best_metric = 1.25;
  state.best_model_checkpoint = "checkpoint-100";
  state.base_hash = "00ff";
  MetricsRow row;
  row.step = 110;
  row.loss = std::numeric_limits<double>::quiet_NaN();
  state.log(row);
  row.step = 120;
  row.loss = 0.1;
  state.log(row);
  return state;
}

TEST(RunState, ReadsBackBitForBit) {
  const RunState state = some_state();
  const std::string json = run_state_json(state);
  const RunState back = parse_run_state(json, "s");
  EXPECT_EQ(run_state_json(back), json);
  EXPECT_EQ(back.seed, state.seed);
  EXPECT_EQ(back.epoch, state.epoch);
  EXPECT_EQ(back.pending_nll, state.pending_nll);
  EXPECT_EQ(back.left_out_steps, state.left_out_steps);
  EXPECT_EQ(back.num_input_tokens_seen, state.num_input_tokens_seen);
  EXPECT_EQ(back.best_model_checkpoint, state.best_model_checkpoint);
  ASSERT_EQ(back.log_history.size(), 2u);
  EXPECT_TRUE(std::isnan(back.log_history[0].loss));
  EXPECT_EQ(back.log_history[1].loss, 0.1);
}

TEST(RunState, UsesTheNamesOfHuggingFace) {
  const auto json = nlohmann::json::parse(run_state_json(some_state()));
  for (const char* name : {"global_step", "max_steps", "epoch", "log_history", "best_metric", "best_model_checkpoint",
                           "num_input_tokens_seen"}) {
    EXPECT_TRUE(json.contains(name)) << name;
  }
  EXPECT_EQ(json.at("log_history").at(1).at("step"), 120);
}

TEST(RunState, WithoutABestReadsBackWithoutOne) {
  const RunState back = parse_run_state(run_state_json(RunState{}), "s");
  EXPECT_FALSE(back.best_metric || back.best_model_checkpoint);
  EXPECT_TRUE(back.log_history.empty());
}

TEST(RunState, KeepsABoundedHistory) {
  RunState state;
  state.global_step = 2000;
  for (int64_t step = 1; step <= 2000; ++step) {
    MetricsRow row;
    row.step = step;
    state.log(row);
  }
  ASSERT_EQ(state.log_history.size(), kHistoryRows);
  EXPECT_EQ(state.log_history.front().step, 2000 - static_cast<int64_t>(kHistoryRows) + 1);
  EXPECT_EQ(state.log_history.back().step, 2000);
}

TEST(RunState, AnUnfinishedRowIsMadeAgain) {
  RunState state = some_state();
  EXPECT_EQ(state.last_row(), 120);
  state.unfinished_row.emplace().step = 120;
  EXPECT_EQ(state.last_row(), 119);
}

TEST(RunState, EveryFieldIsRequiredAndTyped) {
  const auto whole = nlohmann::ordered_json::parse(run_state_json(some_state()));
  for (const auto& [name, value] : whole.items()) {
    auto broken = whole;
    broken[name] = nlohmann::ordered_json::object();
    try {
      parse_run_state(broken.dump(), "trainer_state.json");
      FAIL() << name;
    } catch (const FormatError& error) {
      EXPECT_THAT(error.what(), HasSubstr(name));
      EXPECT_EQ(error.place().file, "trainer_state.json");
    }
    broken.erase(name);
    if (name == "best_metric" || name == "best_model_checkpoint") continue;  // there or not
    if (name == "pending_skipped_steps" || name == "skipped_steps" || name == "left_out_steps" || name == "loss_watch") {
      EXPECT_EQ(nlohmann::ordered_json::parse(run_state_json(parse_run_state(broken.dump(), "s")))[name],
                nlohmann::ordered_json::parse(run_state_json(RunState{}))[name])
          << "of a checkpoint that is older than the field: " << name;
      continue;
    }
    EXPECT_THROW(parse_run_state(broken.dump(), "s"), FormatError) << name;
  }
}

TEST(RunState, SkipsFieldsOfANewerNibble) {
  auto json = nlohmann::ordered_json::parse(run_state_json(some_state()));
  json["added_later"] = {1, 2};
  EXPECT_EQ(parse_run_state(json.dump(), "s").global_step, 120);
}

TEST(RunState, RefusesNumbersThatCannotBe) {
  const auto whole = nlohmann::ordered_json::parse(run_state_json(some_state()));
  const auto refuse = [&](const char* name, const nlohmann::ordered_json& value) {
    auto broken = whole;
    broken[name] = value;
    EXPECT_THROW(parse_run_state(broken.dump(), "s"), FormatError) << name << " " << value;
  };
  refuse("global_step", -1);
  refuse("global_step", 1.5);
  refuse("global_step", std::numeric_limits<uint64_t>::max());
  refuse("global_step", 115);  // its history goes further
  refuse("seed", -1);
  refuse("best_model_checkpoint", "../../etc");
  refuse("best_model_checkpoint", "/checkpoint-1");
  refuse("log_history", nlohmann::ordered_json::array({3}));
  refuse("log_history", nlohmann::ordered_json::array({whole["log_history"][1], whole["log_history"][0]}));
}

TEST(RunState, RefusesWhatIsNotJson) {
  for (const std::string& text : {std::string(), std::string("{"), std::string("[]"), std::string(100000, '[')}) {
    EXPECT_THROW(parse_run_state(text, "s"), FormatError);
  }
}

}  // namespace
}  // namespace nibble::trainer
