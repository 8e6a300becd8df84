// One value of each type: read from a scalar, printed back, named in messages.
#include "schema/value.h"

#include <gtest/gtest.h>

#include "tests/schema/fixtures.h"

namespace nibble::schema {
namespace {

template <class T>
std::string set(const std::string& text, T& value, bool quoted = false) {
  return set_value("key", {text, quoted, 1, 1}, value);
}

TEST(SetValue, SetsEachTypeFromItsPlainText) {
  bool flag = false;
  int64_t count = 0;
  double number = 0;
  std::string text;
  Schedule schedule = Schedule::kLinear;
  EXPECT_EQ(set("true", flag), "");
  EXPECT_EQ(set("12", count), "");
  EXPECT_EQ(set("1e3", number), "");
  EXPECT_EQ(set("a b", text), "");
  EXPECT_EQ(set("constant_with_warmup", schedule), "");
  EXPECT_TRUE(flag);
  EXPECT_EQ(count, 12);
  EXPECT_EQ(number, 1000.0);
  EXPECT_EQ(text, "a b");
  EXPECT_EQ(schedule, Schedule::kConstantWithWarmup);
}

TEST(SetValue, LeavesTheValueAndSaysWhatIsWanted) {
  bool flag = true;
  int64_t count = 7;
  double number = 7;
  QuantType type = QuantType::kFp4;
  EXPECT_EQ(set("yes", flag), "key = yes is not true or false");
  EXPECT_EQ(set("true", flag, true), "key = \"true\" is not true or false");
  EXPECT_EQ(set("5", count, true), "key = \"5\" is not a whole number (plain digits, no quotes, no leading zeros, no exponent)");
  EXPECT_EQ(set("", count), "key = (empty) is not a whole number (plain digits, no quotes, no leading zeros, no exponent)");
  EXPECT_EQ(set("nan", number), "key = nan is not a number");
  EXPECT_EQ(set("0.5", number, true), "key = \"0.5\" is not a number");
  EXPECT_EQ(set("NF4", type), "key = NF4 is not one of nf4, fp4");
  EXPECT_TRUE(flag);
  EXPECT_EQ(count, 7);
  EXPECT_EQ(number, 7);
  EXPECT_EQ(type, QuantType::kFp4);
}

TEST(SetValue, TakesAnEmptyTextInQuotesOnlyAndNoNul) {
  std::string text = "before";
  EXPECT_EQ(set("", text), "key = (empty) is not a text");
  EXPECT_TRUE(contains(set(std::string("a\0b", 3), text, true), "NUL"));
  EXPECT_EQ(text, "before");
  EXPECT_EQ(set("", text, true), "");
  EXPECT_EQ(text, "");
}

TEST(ValueText, PrintsEachType) {
  EXPECT_EQ(value_text(true), "true");
  EXPECT_EQ(value_text(int64_t{-1}), "-1");
  EXPECT_EQ(value_text(2e-4), "0.0002");
  EXPECT_EQ(value_text(std::string()), "\"\"");
  EXPECT_EQ(value_text(std::vector<std::string>{}), "[]");
  EXPECT_EQ(value_text(std::vector<std::string>{"a"}), "a");
  EXPECT_EQ(value_text(std::vector<std::string>{"a", "b: c"}), "[a, \"b: c\"]");
  EXPECT_EQ(value_text(std::vector<double>{}), "[]");
  EXPECT_EQ(value_text(std::vector<double>{0.5, 2}), "[0.5, 2]");
  EXPECT_EQ(value_text(ComputeDtype::kFloat32), "float32");
}

// Every name of an enumeration reads back as its value, and the names are as many as the values.
template <class Enum>
void expect_names_round_trip(Enum last) {
  EXPECT_EQ(EnumNames<Enum>::names.size(), static_cast<size_t>(last) + 1);
  for (size_t i = 0; i < EnumNames<Enum>::names.size(); ++i) {
    Enum value{};
    EXPECT_EQ(set(std::string(EnumNames<Enum>::names[i]), value), "");
    EXPECT_EQ(static_cast<size_t>(value), i);
    EXPECT_TRUE(contains(type_text(value), std::string(EnumNames<Enum>::names[i])));
  }
}

TEST(EnumNames, ReadBackAsTheirValues) {
  expect_names_round_trip(QuantType::kFp4);
  expect_names_round_trip(ComputeDtype::kFloat32);
  expect_names_round_trip(Schedule::kConstantWithWarmup);
  expect_names_round_trip(Optim::kPagedLion8bit);
  expect_names_round_trip(Recompute::kOffload);
  expect_names_round_trip(BaseResidency::kStreamed);
  expect_names_round_trip(AutoSwitch::kFalse);
  expect_names_round_trip(DatasetFormat::kSegments);
  expect_names_round_trip(ChatTemplate::kZephyr);
  expect_names_round_trip(Truncation::kDrop);
  expect_names_round_trip(PackingStrategy::kBfd);
  expect_names_round_trip(DeviceChoice::kCuda);
  expect_names_round_trip(EvalStrategy::kEpoch);
  expect_names_round_trip(ReportTo::kNone);
}

TEST(EnumAliases, AreReadAsTheValueTheyStandFor) {
  Optim value = Optim::kLion8bit;
  EXPECT_EQ(set("adamw_bnb_8bit", value), "");
  EXPECT_EQ(value_text(value), "adamw_8bit");
  EXPECT_EQ(set("adamw_torch_fused", value), "");
  EXPECT_EQ(value_text(value), "adamw_torch");
  DatasetFormat format = DatasetFormat::kAuto;
  EXPECT_EQ(set("prompt_completion", format), "");
  EXPECT_EQ(value_text(format), "prompt-completion");
  EXPECT_EQ(set("input_output", format), "");
  EXPECT_EQ(value_text(format), "segments");
}

}  // namespace
}  // namespace nibble::schema
