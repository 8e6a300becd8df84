// load_dataset: what each option does, and that the number of threads changes nothing. Units: data/load_dataset
#include <gtest/gtest.h>

#include "core/error.h"
#include "data/dataset.h"
#include "tests/data/fixtures.h"

namespace nibble::data {
namespace {

const Tokenizer& smollm2() {
  static const Tokenizer tokenizer = smollm2_tokenizer();
  return tokenizer;
}

class LoadDataset : public testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::path(testing::TempDir()) / (std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + ".jsonl");
    options_.files = {path_};
    options_.max_length = 64;
    options_.packing = false;
  }
  void TearDown() override { std::filesystem::remove(path_); }
  Dataset load(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    return load_dataset(options_, smollm2());
  }
  // The message of the error that loading gives; "" where it gives none.
  std::string refusal(const std::string& text) {
    try {
      load(text);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  static std::vector<int32_t> copy(std::span<const int32_t> values) { return {values.begin(), values.end()}; }
  std::filesystem::path path_;
  DataOptions options_;
};

TEST_F(LoadDataset, PretokenizedRowsKeepIdsLabelsAndDropPadding) {
  const Dataset dataset = load(R"({"input_ids": [5, 6, 7, 0], "labels": [-100, 6, 7, -100], "attention_mask": [1, 1, 1, 0]})"
                               "\n" R"({"input_ids": [8, 9]})" "\n");
  EXPECT_EQ(dataset.stats.format, "pretokenized");
  EXPECT_EQ(dataset.stats.template_name, "");
  ASSERT_EQ(dataset.documents(), 2);
  EXPECT_EQ(copy(dataset.ids(0)), (std::vector<int32_t>{5, 6, 7}));
  EXPECT_EQ(copy(dataset.labels(0)), (std::vector<int32_t>{-100, 6, 7}));
  EXPECT_EQ(copy(dataset.labels(1)), (std::vector<int32_t>{8, 9}));
  EXPECT_EQ(dataset.stats.tokens, 5);
  EXPECT_EQ(dataset.stats.trained_tokens, 3);
}

TEST_F(LoadDataset, PretokenizedMistakesNameLineAndField) {
  const std::string good = R"({"input_ids": [5, 6]})" "\n";
  const auto refused = [&](const std::string& row, const std::string& field) {
    const std::string message = refusal(good + row);
    EXPECT_NE(message.find(".jsonl:2"), std::string::npos) << message;
    EXPECT_NE(message.find(field), std::string::npos) << message;
  };
  refused(R"({"input_ids": [5, 49152]})", "input_ids[1]");
  refused(R"({"input_ids": [-1, 5]})", "input_ids[0]");
  refused(R"({"input_ids": [5, 18446744073709551615]})", "input_ids[1]");
  refused(R"({"input_ids": [5, 1.5]})", "input_ids[1]");
  refused(R"({"input_ids": []})", "input_ids");
  refused(R"({"input_ids": "5 6"})", "input_ids");
  refused(R"({"input_ids": [5, 6], "labels": [5]})", "labels");
  refused(R"({"input_ids": [5, 6], "labels": [6, -100]})", "labels[0]");  // shifted by the one who made the file
  refused(R"({"input_ids": [5, 6], "attention_mask": [0, 0]})", "attention_mask");
  refused(R"({"input_ids": [5, 6], "attention_mask": [1, 2]})", "attention_mask[1]");
}

TEST_F(LoadDataset, LongDocumentsAreRaisedTruncatedOrDroppedWithCounts) {
  std::string text;
  for (int i = 0; i < 5; ++i) text += R"({"text": ")" + std::string(i == 3 ? 2000 : 4, 'x') + " word\"}\n";
  options_.truncation = Truncation::kRaise;
  const std::string message = refusal(text);
  EXPECT_NE(message.find(".jsonl:4"), std::string::npos) << message;
  EXPECT_NE(message.find("1 of 5 examples"), std::string::npos) << message;
  options_.truncation = Truncation::kDrop;
  const Dataset dropped = load(text);
  EXPECT_EQ(dropped.documents(), 4);
  EXPECT_EQ(dropped.stats.dropped_long, 1);
  options_.truncation = Truncation::kTruncate;
  const Dataset cut = load(text);
  EXPECT_EQ(cut.documents(), 5);
  EXPECT_EQ(cut.stats.truncated, 1);
  EXPECT_EQ(cut.ids(3).size(), 64u);
  EXPECT_GT(cut.stats.longest, 64);
  ASSERT_EQ(cut.stats.warnings.size(), 1u);
}

TEST_F(LoadDataset, NothingToTrainOnIsAnErrorWithTheReason) {
  EXPECT_NE(refusal(R"({"messages": [{"role": "user", "content": "Hi"}]})").find("no example has a token to train on"), std::string::npos);
  // The answer lies behind the cut.
  options_.truncation = Truncation::kTruncate;
  options_.max_length = 8;
  EXPECT_NE(refusal(R"({"instruction": "one two three four five six", "output": "x"})").find("max_length"), std::string::npos);
}

TEST_F(LoadDataset, NumberOfThreadsChangesNothing) {
  std::string text;
  for (int i = 0; i < 1000; ++i) {
    text += R"({"instruction": "Count to )" + std::to_string(i) + R"(.", "output": ")" + std::string(i % 37, 'y') + " done\"}\n";
  }
  options_.packing = true;
  options_.threads = 1;
  options_.max_length = 128;
  const Dataset one = load(text);
  options_.threads = 5;
  const Dataset five = load(text);
  ASSERT_EQ(one.documents(), 1000);
  ASSERT_EQ(five.documents(), 1000);
  for (int64_t d = 0; d < 1000; ++d) {
    ASSERT_EQ(copy(one.ids(d)), copy(five.ids(d)));
    ASSERT_EQ(copy(one.labels(d)), copy(five.labels(d)));
  }
  ASSERT_EQ(one.rows(), five.rows());
  EXPECT_LT(one.rows(), 1000);
  for (int64_t r = 0; r < one.rows(); ++r) ASSERT_EQ(one.row(r), five.row(r));
  EXPECT_EQ(one.stats.hash, five.stats.hash);
}

TEST_F(LoadDataset, TheFirstBadRowIsReportedWhateverTheThreads) {
  std::string text;
  for (int i = 1; i <= 2000; ++i) text += i == 700 || i == 705 || i == 1900 ? "{\"text\": 7}\n" : "{\"text\": \"fine\"}\n";
  for (int attempt = 0; attempt < 5; ++attempt) {
    options_.threads = 1 + attempt;
    EXPECT_NE(refusal(text).find(".jsonl:700"), std::string::npos);
  }
}

TEST_F(LoadDataset, HashFollowsTheContent) {
  const std::string a = load(R"({"text": "one two"})").stats.hash;
  EXPECT_EQ(a.size(), 32u);
  EXPECT_EQ(load(R"({"text": "one two"})").stats.hash, a);
  EXPECT_NE(load(R"({"text": "one too"})").stats.hash, a);
}

TEST_F(LoadDataset, FormatThatTheFileDoesNotHaveIsAnError) {
  options_.format = DatasetFormat::kAlpaca;
  EXPECT_NE(refusal(R"({"text": "x y"})").find("has the fields of text"), std::string::npos);
  options_.format = DatasetFormat::kAuto;
  EXPECT_NE(refusal(R"({"quality": 3})").find("no known format has these keys (quality)"), std::string::npos);
}

TEST_F(LoadDataset, AlpacaSystemAndHistoryBecomeTurns) {
  options_.max_length = 256;
  const Dataset dataset = load(R"({"instruction": "And 3+3?", "output": "6", "system": "Be terse.", "history": [["2+2?", "4"]]})");
  EXPECT_EQ(smollm2().decode(dataset.ids(0), false),
            "<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
            "<|im_start|>user\nAnd 3+3?<|im_end|>\n<|im_start|>assistant\n6<|im_end|>\n");
  EXPECT_EQ(dataset.stats.trained_tokens, 4);  // 4, <|im_end|>, 6, <|im_end|>
}

TEST_F(LoadDataset, ArraysReportTheLineOfTheirElement) {
  EXPECT_NE(refusal("[\n{\"text\": \"a b\"},\n\n{\"text\":\n 5}]\n").find(".jsonl:4"), std::string::npos);
  EXPECT_NE(refusal("[{\"text\": \"a b\"}] x").find("more text"), std::string::npos);
  EXPECT_NE(refusal("[{\"text\": \"a b\"},]").find("missing"), std::string::npos);
  EXPECT_NE(refusal("[]").find("holds no examples"), std::string::npos) << refusal("[]");
  EXPECT_EQ(load("[{\"text\": \"a ] , b\"}, {\"text\": \"c \\\" d\"}]").documents(), 2);
}

TEST_F(LoadDataset, MissingFileIsAnIoError) {
  options_.files = {path_ / "nowhere.jsonl"};
  EXPECT_THROW(load_dataset(options_, smollm2()), IoError);
}

// Every prefix and many single-byte changes of a good file: an error or a dataset, never a crash.
TEST_F(LoadDataset, DamagedFilesNeverCrash) {
  const std::string good = R"([{"instruction": "caf\u00e9 \"x\"", "input": null, "output": "y\n"}, {"instruction": "b", "output": "c"}])";
  int refused = 0;
  for (size_t size = 0; size < good.size(); ++size) refused += !refusal(good.substr(0, size)).empty();
  EXPECT_EQ(refused, static_cast<int>(good.size()));
  for (size_t at = 0; at < good.size(); ++at) {
    for (const char byte : {'\0', '"', '{', ']', '\\', '\xFF'}) {
      std::string damaged = good;
      damaged[at] = byte;
      refused += !refusal(damaged).empty();
    }
  }
  EXPECT_GT(refused, static_cast<int>(good.size()) * 3);
}

}  // namespace
}  // namespace nibble::data
