// Units: trainer/rehearsal, trainer/run_result, trainer/run_hooks, trainer/run_schedule, trainer/run_start, trainer/training_model
// Memory as a run shows it: the worst step first, planned and measured bytes, components in every row, and the message when
// memory is at its end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tests/trainer/run_binary.h"

namespace nibble::trainer {
namespace {

using test::ProgramResult;
using test::RunWorkshop;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

std::vector<nlohmann::json> metrics_of(const std::filesystem::path& run) {
  std::vector<nlohmann::json> rows;
  std::ifstream file(run / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) rows.push_back(nlohmann::json::parse(line));
  return rows;
}

TEST(WorstStepFirst, ChangesNoBitAndTellsPlannedAndMeasured) {
  const RunWorkshop shop;
  const std::vector<std::string> set{"validation_split_ratio=0.2", "eval_strategy=steps", "eval_steps=2", "optim=adamw_8bit"};
  const auto with = [&](const char* key) {
    std::vector<std::string> more = set;
    more.push_back(key);
    return more;
  };
  const ProgramResult first = shop.train("first", with("worst_step_first=true")), plain = shop.train("plain", with("worst_step_first=false"));
  ASSERT_EQ(first.exit_code, 0) << first.err;
  ASSERT_EQ(plain.exit_code, 0) << plain.err;
  for (const char* file : {"checkpoint-8/adapter_model.safetensors", "checkpoint-8/optimizer.safetensors"}) {
    EXPECT_TRUE(test::file_bytes(shop / "first" / file) == test::file_bytes(shop / "plain" / file)) << file;
  }
  const auto a = metrics_of(shop / "first"), b = metrics_of(shop / "plain");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].at("loss"), b[i].at("loss"));
    EXPECT_EQ(a[i].value("eval_loss", 0.0), b[i].value("eval_loss", 0.0));
  }
  EXPECT_THAT(first.err, HasSubstr("worst step first: passes of up to"));
  EXPECT_THAT(test::file_bytes(shop / "first/log.txt"), HasSubstr("saved activations"));
  EXPECT_THAT(plain.err, Not(HasSubstr("worst step first")));
}

TEST(WorstStepFirst, AutoIsOffWhereThereIsRoom) {
  const RunWorkshop shop;
  const ProgramResult result = shop.train("run", {"max_steps=1"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("worst step first")));
}

TEST(WorstStepFirst, ChangesNothingWhereARunIsResumed) {
  const RunWorkshop shop;
  ASSERT_EQ(shop.train("whole").exit_code, 0);
  std::filesystem::copy(shop / "whole", shop / "half", std::filesystem::copy_options::recursive);
  std::filesystem::remove_all(shop / "half/checkpoint-8");
  const ProgramResult resumed = shop.nibble({"resume", shop("half"), "--json", "--set", "worst_step_first=true"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("worst step first"));
  for (const char* file : {"checkpoint-8/adapter_model.safetensors", "checkpoint-8/optimizer.safetensors"}) {
    EXPECT_TRUE(test::file_bytes(shop / "half" / file) == test::file_bytes(shop / "whole" / file)) << file;
  }
}

TEST(MemoryOfARun, IsInRowsAndResult) {
  const RunWorkshop shop;
  const ProgramResult result = shop.train("run", {"max_steps=2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = result.json();
  EXPECT_GT(json.at("plan_bytes"), 0);
  // What the process had at most, and what its components had at most, by name.
  EXPECT_NEAR(json.at("measured_bytes").get<double>() / (1 << 20), json.at("peak_rss_mib").get<double>(), 8.0);
  for (const char* component : {"base", "embedding", "adapters", "gradients", "optimizer", "saved_activations", "workspace", "panels", "libraries"}) {
    EXPECT_GT(json.at("memory_peak_mib").at(component).get<double>(), 0.0) << component;
  }
  const auto rows = metrics_of(shop / "run");
  ASSERT_EQ(rows.size(), 2u);
  double sum = 0.0;
  for (const auto& [component, mib] : rows[1].at("memory").items()) sum += mib.get<double>();
  EXPECT_NEAR(sum, rows[1].at("peak_rss_mib").get<double>(), 32.0);
}

#ifndef __SANITIZE_ADDRESS__  // its shadow takes more address space than any limit that would try something
// Under every limit, the run ends well, or with code 4: planned beyond it, or with the component that asked; or it could not start
// at all.
TEST(OutOfMemory, IsToldWhateverTheLimit) {
  const RunWorkshop shop;
  int succeeded = 0, refused = 0;
  for (int64_t mib = 300; mib <= 1500 && succeeded == 0; mib += 20) {
    const std::string run = fmt::format("run-{}", mib);
    const ProgramResult result = test::Program(shop.path(), shop.train_arguments(run, {"max_steps=1"}), RLIM_INFINITY,
                                               static_cast<rlim_t>(mib) << 20).wait();
    if (result.exit_code == 0) {
      ++succeeded;
    } else if (result.exit_code == 4) {
      ++refused;
      ASSERT_THAT(result.err, HasSubstr("OutOfMemoryError")) << mib;
      const std::string message = result.error().at("message");
      EXPECT_THAT(message, AnyOf(HasSubstr("out of memory while"), HasSubstr("does not fit"))) << mib;
      if (message.find("out of memory while") != std::string::npos) {
        EXPECT_THAT(message, testing::AllOf(HasSubstr("What helps: "), HasSubstr("ulimit -v"))) << mib;
      }
    } else {
      // The dynamic linker or LibTorch's start failed before the program began.
      EXPECT_THAT(result.err, Not(HasSubstr("mistake in nibble"))) << mib << ": " << result.err;
    }
  }
  EXPECT_EQ(succeeded, 1);
  EXPECT_GT(refused, 0);
}

// Memory that ends while the run is under way: what it was at is what it says.
TEST(OutOfMemory, NamesWhatWasBeingDone) {
  const RunWorkshop shop;
  test::Program run(shop.path(), shop.train_arguments("run", {"max_steps=1000000", "logging_steps=1", "save_steps=5", "validation_split_ratio=0.2",
                                                              "eval_strategy=steps", "eval_steps=3", "save_total_limit=1"}));
  while (run.running() && !std::filesystem::exists(shop / "run/checkpoint-5")) ::usleep(2000);
  run.take_address_space();
  const ProgramResult result = run.wait();
  ASSERT_EQ(result.exit_code, 4) << result.err;
  const std::string message = result.error().at("message");
  EXPECT_THAT(message, AnyOf(HasSubstr("out of memory while training: "), HasSubstr("out of memory while evaluating: "), HasSubstr("out of memory while saving a checkpoint: ")));
  EXPECT_THAT(message, testing::AllOf(HasSubstr("asked for"), HasSubstr("What helps: "), HasSubstr("saved activations")));
}
#endif

}  // namespace
}  // namespace nibble::trainer
