// Units: trainer/inspect_report trainer/inspect_html trainer/cmd_inspect trainer/cmd_tokenize trainer/prepare_data
// What `nibble inspect` and `nibble tokenize` say of a run's data, with the binary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/run_binary.h"

namespace nibble::trainer {
namespace {

using nlohmann::json;
using test::RunWorkshop;
using testing::HasSubstr;
using testing::Not;

class Inspect : public testing::Test {
 protected:
  static void SetUpTestSuite() { shop_ = new RunWorkshop; }
  static void TearDownTestSuite() {
    delete shop_;
    shop_ = nullptr;
  }
  const RunWorkshop& shop() const { return *shop_; }
  test::ProgramResult inspect(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"inspect", shop()("run.yaml")};
    words.insert(words.end(), more.begin(), more.end());
    return shop().nibble(words);
  }

 private:
  static inline RunWorkshop* shop_ = nullptr;
};

// Every document of the file stands in exactly one packed row, whole, its first label ignored.
TEST_F(Inspect, JsonHoldsEveryRowOfTheEpoch) {
  const auto result = inspect({"--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json out = result.json();
  std::vector<json> seen(40);
  int64_t tokens = 0, trained = 0;
  for (const json& row : out.at("rows")) {
    const json &ids = row.at("input_ids"), &labels = row.at("labels");
    ASSERT_EQ(ids.size(), labels.size());
    EXPECT_LE(ids.size(), 64u);
    size_t end = 0;
    for (const json& document : row.at("documents")) {
      ASSERT_EQ(document.at("start"), end);
      const size_t length = document.at("tokens");
      json& whole = seen.at(document.at("index").get<size_t>());
      EXPECT_TRUE(whole.is_null());
      whole = json(std::vector<json>(ids.begin() + static_cast<int64_t>(end), ids.begin() + static_cast<int64_t>(end + length)));
      EXPECT_EQ(labels[end], -100);
      for (size_t i = end + 1; i < end + length; ++i) EXPECT_EQ(labels[i], ids[i]);
      EXPECT_EQ(document.at("trained_tokens"), length - 1);
      EXPECT_THAT(document.at("place").get<std::string>(), HasSubstr(fmt::format("rows.jsonl:{}", document.at("index").get<int>() + 1)));
      trained += static_cast<int64_t>(length) - 1;
      tokens += static_cast<int64_t>(length);
      end += length;
    }
    EXPECT_EQ(end, ids.size());
  }
  for (int i = 0; i < 40; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], json::parse(RunWorkshop::row(i)).at("input_ids")) << i;
  const json& stats = out.at("stats");
  EXPECT_EQ(stats.at("documents"), 40);
  EXPECT_EQ(stats.at("rows"), out.at("rows").size());
  EXPECT_EQ(stats.at("tokens"), tokens);
  EXPECT_EQ(stats.at("trained_tokens"), trained);
}

TEST_F(Inspect, TextMarksWhatIsTrainedWithoutColours) {
  const auto result = inspect({"--rows", "2", "--ids"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("row 0  "));
  EXPECT_THAT(result.out, HasSubstr("row 1  "));
  EXPECT_THAT(result.out, Not(HasSubstr("row 2  ")));
  EXPECT_THAT(result.out, HasSubstr("    trained | "));
  EXPECT_THAT(result.out, HasSubstr("    masked  | "));
  EXPECT_THAT(result.out, HasSubstr("        ids | "));
  EXPECT_THAT(result.out, Not(HasSubstr("\x1b[")));
}

TEST_F(Inspect, FirstChoosesTheRow) {
  const json all = inspect({"--json"}).json(), one = inspect({"--json", "--first", "3", "--rows", "1"}).json();
  ASSERT_EQ(one.at("rows").size(), 1u);
  EXPECT_EQ(one.at("rows")[0], all.at("rows")[3]);
}

TEST_F(Inspect, HtmlIsOneEscapedPage) {
  const auto result = inspect({"--rows", "3", "--html", shop()("page.html")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string page = test::file_bytes(shop() / "page.html");
  EXPECT_THAT(page, HasSubstr("<!doctype html>"));
  EXPECT_THAT(page, HasSubstr("Row 2:"));
  EXPECT_THAT(page, HasSubstr(" trained\">"));
  EXPECT_THAT(page, HasSubstr("&lt;"));  // '<' is a token of this vocabulary
  EXPECT_THAT(page, Not(HasSubstr("http")));
}

TEST_F(Inspect, RefusesWhatIsNotThere) {
  EXPECT_EQ(inspect({"--first", "1000"}).exit_code, 2);
  const auto no_validation = inspect({"--split", "validation"});
  EXPECT_EQ(no_validation.exit_code, 2);
  EXPECT_THAT(no_validation.err, HasSubstr("validation_file"));
  EXPECT_EQ(inspect({"--set", "train_file=" + shop()("nothing.jsonl")}).exit_code, 3);
}

TEST_F(Inspect, ValidationSplitIsShownApart) {
  const auto held = inspect({"--json", "--split", "validation", "--set", "validation_split_ratio=0.25"});
  ASSERT_EQ(held.exit_code, 0) << held.err;
  EXPECT_EQ(held.json().at("stats").at("documents"), 10);
  EXPECT_EQ(inspect({"--json", "--set", "validation_split_ratio=0.25"}).json().at("stats").at("documents"), 30);
}

TEST_F(Inspect, TokenizeWritesIdsAndReadsThemBack) {
  test::put_file(shop() / "lines.txt", "It was\n\nthe best\n");
  const auto ids = shop().nibble({"tokenize", shop()("model"), shop()("lines.txt")});
  ASSERT_EQ(ids.exit_code, 0) << ids.err;
  const json lines = shop().nibble({"tokenize", shop()("model"), shop()("lines.txt"), "--json"}).json().at("lines");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].at("ids").size(), 6u);
  EXPECT_EQ(lines[0].at("tokens")[0], "I");
  EXPECT_TRUE(lines[1].at("ids").empty());
  test::put_file(shop() / "ids.txt", ids.out);
  EXPECT_EQ(shop().nibble({"tokenize", shop()("model"), shop()("ids.txt"), "--decode"}).out, "It was\n\nthe best\n");
  test::put_file(shop() / "wrong.txt", "5\n5 96\n");
  const auto wrong = shop().nibble({"tokenize", shop()("model"), shop()("wrong.txt"), "--decode"});
  EXPECT_EQ(wrong.exit_code, 3);
  EXPECT_THAT(wrong.err, HasSubstr("wrong.txt:2"));
}

}  // namespace
}  // namespace nibble::trainer
