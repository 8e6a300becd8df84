// Unit: trainer/black_box. The record's file and folder.
#include "trainer/black_box.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "tests/support/temporary_folder.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

BlackBox some_box(int64_t step) {
  BlackBox box;
  box.step = step;
  box.seed = std::numeric_limits<uint64_t>::max();
  box.reason = "loss";
  box.loss = std::numeric_limits<double>::quiet_NaN();
  box.loss_bits = bits_text(box.loss);
  box.watch_limit = std::numeric_limits<double>::infinity();
  box.learning_rate = 1e-4;
  box.first_wrong = "not finite first in the hidden states of layers.1, pass 1, document 1, token 2 (rows.jsonl:1)";
  box.hidden = {{"embedding", 1.5, 3.0, 4, 0}, {"layers.0", 0.0, 0.0, 4, 4}};
  box.passes = {{64, 10, box.loss}};
  box.documents.push_back({"rows.jsonl:1", 3, 2, std::vector<int64_t>{5, 6, 7}, "011", "a\"b\n\xff"});
  box.documents.push_back({"rows.jsonl:2", 40000, 2, {}, {}, {}});
  return box;
}

const auto kNoState = [](const fs::path&) {};

TEST(BlackBox, ReadsBackAsWritten) {
  const test::TemporaryFolder run;
  const fs::path folder = write_black_box(run.path(), some_box(12), kNoState);
  EXPECT_EQ(folder, run / "blackbox-12");
  const BlackBox back = read_black_box(folder);
  EXPECT_EQ(back.step, 12);
  EXPECT_EQ(back.seed, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(back.loss_bits, "nan");
  EXPECT_TRUE(std::isnan(back.loss));
  EXPECT_EQ(back.learning_rate, 1e-4);
  EXPECT_EQ(back.first_wrong, some_box(12).first_wrong);
  ASSERT_EQ(back.documents.size(), 2u);
  EXPECT_EQ(back.documents[0].ids, (std::vector<int64_t>{5, 6, 7}));
  EXPECT_EQ(back.documents[0].text, "a\"b\n\xEF\xBF\xBD");  // JSON is UTF-8
  EXPECT_FALSE(back.documents[1].ids);
  ASSERT_EQ(back.hidden.size(), 2u);
  EXPECT_EQ(back.hidden[1].non_finite, 4);
}

TEST(BlackBox, WritesNoZeroForWhatIsNotFiniteAndAnEntryALine) {
  const test::TemporaryFolder run;
  const std::string text = test::file_bytes(write_black_box(run.path(), some_box(3), kNoState) / kBlackBoxFile);
  const auto json = nlohmann::json::parse(text);
  EXPECT_TRUE(json.at("loss").is_null());
  EXPECT_TRUE(json.at("watch_limit").is_null());
  EXPECT_TRUE(json.at("passes").at(0).at("loss").is_null());
  std::istringstream lines(text);
  int entries = 0;
  for (std::string line; std::getline(lines, line);) entries += line.starts_with("    {");
  EXPECT_EQ(entries, 5);
}

TEST(BlackBox, KeepsTheNewestFewWhateverTheirSteps) {
  const test::TemporaryFolder run;
  auto hour = fs::file_time_type::clock::now() - std::chrono::hours(10);
  for (const int64_t step : {40, 7, 30, 8}) {
    write_black_box(run.path(), some_box(step), kNoState);
    fs::last_write_time(run / black_box_name(step) / kBlackBoxFile, hour += std::chrono::hours(1));
  }
  EXPECT_THAT(list_black_boxes(run.path()), ElementsAre(run / "blackbox-7", run / "blackbox-30", run / "blackbox-8"));
  write_black_box(run.path(), some_box(7), kNoState);  // again: it takes the old one's place and is the newest
  EXPECT_THAT(list_black_boxes(run.path()), ElementsAre(run / "blackbox-30", run / "blackbox-8", run / "blackbox-7"));
}

TEST(BlackBox, ListsWholeFoldersOnly) {
  const test::TemporaryFolder run;
  fs::create_directory(run / "blackbox-5");                        // without its file
  test::put_file(run / "blackbox-007/black_box.json", "{}");       // not our spelling
  test::put_file(run / ".blackbox-6.partial/black_box.json", "{}");
  test::put_file(run / "blackbox-x/black_box.json", "{}");
  EXPECT_THAT(list_black_boxes(run.path()), ElementsAre());
  EXPECT_THAT(list_black_boxes(run / "absent"), ElementsAre());
}

TEST(BlackBox, LeavesNothingWhereTheStateCannotBeWritten) {
  const test::TemporaryFolder run;
  const auto fails = [](const fs::path& folder) {
    test::put_file(folder / "checkpoint-11/half", "x");
    throw IoError("disk full", "x");
  };
  EXPECT_THROW(write_black_box(run.path(), some_box(12), fails), IoError);
  EXPECT_TRUE(fs::is_empty(run.path()));
}

TEST(BlackBox, RefusesWhatIsNone) {
  const test::TemporaryFolder run;
  EXPECT_THROW(read_black_box(run.path()), ConfigError);
  EXPECT_THROW(read_black_box(run / "absent"), ConfigError);
  const auto refused = [&](const std::string& text) {
    test::put_file(run / "box/black_box.json", text);
    EXPECT_THROW(read_black_box(run / "box"), FormatError) << text;
  };
  const std::string good = test::file_bytes(write_black_box(run.path(), some_box(12), kNoState) / kBlackBoxFile);
  refused("");
  refused("[]");
  refused("{}");
  refused(good.substr(0, good.size() / 2));
  auto json = nlohmann::json::parse(good);
  for (const char* key : {"format", "step", "documents", "hidden", "loss_bits", "cursor_row"}) {
    auto other = json;
    other[key] = "x";
    if (std::string(key) != "loss_bits") refused(other.dump());
    other.erase(key);
    refused(other.dump());
  }
  json["format"] = 2;
  refused(json.dump());
  json["format"] = 1;
  json["step"] = 0;
  refused(json.dump());
}

TEST(BitsText, IsExactAndNamesNan) {
  EXPECT_EQ(bits_text(1.0), "3ff0000000000000");
  EXPECT_NE(bits_text(0.1), bits_text(std::nextafter(0.1, 1.0)));
  EXPECT_NE(bits_text(0.0), bits_text(-0.0));
  EXPECT_EQ(bits_text(-std::numeric_limits<double>::quiet_NaN()), "nan");
}

}  // namespace
}  // namespace nibble::trainer
