// Units: trainer/diagnostics trainer/commands trainer/process_clock
#include "trainer/diagnostics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "trainer/command.h"
#include "trainer/process_clock.h"

namespace nibble::trainer {
namespace {

using testing::HasSubstr;
using testing::internal::CaptureStderr;
using testing::internal::GetCapturedStderr;

TEST(RunReporting, GivesEachErrorItsCodeAndPlace) {
  CaptureStderr();
  EXPECT_EQ(run_reporting([]() -> int { throw DataError("is odd", {"a.jsonl", 3, 7}); }, true), 3);
  const std::string text = GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("a.jsonl:3:7: error: is odd\n{"));
  const auto json = nlohmann::json::parse(text.substr(text.find('\n') + 1));
  EXPECT_EQ(json.at("error"), "DataError");
  EXPECT_EQ(json.at("file"), "a.jsonl");
  EXPECT_EQ(json.at("line"), 3);
  EXPECT_EQ(json.at("column"), 7);
}

TEST(RunReporting, KnowsMemoryMistakesAndBytesThatAreNoText) {
  CaptureStderr();
  EXPECT_EQ(run_reporting([]() -> int { throw std::bad_alloc(); }, false), 4);
  EXPECT_EQ(run_reporting([]() -> int { throw std::logic_error("oops"); }, false), 1);
  EXPECT_EQ(run_reporting([] { return 75; }, false), 75);
  EXPECT_THAT(GetCapturedStderr(), HasSubstr("mistake in nibble"));
  CaptureStderr();
  EXPECT_EQ(run_reporting([]() -> int { throw FormatError("bad \xff byte", "f\xfe", 12); }, true), 5);
  const std::string text = GetCapturedStderr();
  EXPECT_EQ(nlohmann::json::parse(text.substr(text.find('\n') + 1)).at("byte_offset"), 12);
}

TEST(NearestVerb, SuggestsOneWhereItIsNear) {
  EXPECT_EQ(nearest_verb("train", {"train", "eval"}), "");
  EXPECT_THAT(nearest_verb("evla", {"train", "eval"}), HasSubstr("did you mean 'eval'?"));
  EXPECT_THAT(nearest_verb("photosynthesize", {"train", "eval"}), HasSubstr("there are train, eval"));
}

TEST(AllCommands, AreDistinctAndDescribed) {
  std::set<std::string> names;
  for (const Command& command : all_commands()) {
    EXPECT_TRUE(names.insert(command.name).second) << command.name;
    EXPECT_NE(std::string(command.summary), "");
  }
  EXPECT_TRUE(names.contains("train") && names.contains("resume") && names.contains("export"));
}

TEST(ProcessClock, RunsForwardFromTheProcessStart) {
  const double first = seconds_since_process_start(), second = seconds_since_process_start();
  EXPECT_GE(first, 0.0);
  EXPECT_GE(second, first);
  EXPECT_LT(second, 3600.0);
}

}  // namespace
}  // namespace nibble::trainer
