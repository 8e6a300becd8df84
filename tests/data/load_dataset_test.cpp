// load_dataset: what each option does, and that the number of threads changes nothing.
//
// Units: data/build_cache data/encode_block data/repeats
#include "data/load_dataset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "data/repeats.h"
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
  std::filesystem::path path_;
  DataOptions options_;
};

TEST_F(LoadDataset, PretokenizedRowsKeepIdsLabelsAndDropPadding) {
  const Dataset dataset = load(R"({"input_ids": [5, 6, 7, 0], "labels": [-100, 6, 7, -100], "attention_mask": [1, 1, 1, 0]})"
                               "\n" R"({"input_ids": [8, 9]})" "\n");
  EXPECT_EQ(dataset.stats.format, "pretokenized");
  EXPECT_EQ(dataset.stats.template_name, "");
  ASSERT_EQ(dataset.documents(), 2);
  EXPECT_EQ(dataset.sample(0).ids, (std::vector<int32_t>{5, 6, 7}));
  EXPECT_EQ(dataset.sample(0).labels, (std::vector<int32_t>{-100, 6, 7}));
  EXPECT_EQ(dataset.sample(1).labels, (std::vector<int32_t>{8, 9}));
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

// Several blocks of rows, so that threads have something to overtake each other with.
std::string many_rows(int rows) {
  std::string text;
  for (int i = 0; i < rows; ++i) {
    text += R"({"instruction": "Count to )" + std::to_string(i) + R"( and say why )" + std::string(static_cast<size_t>(i % 61), 'z') + R"(.", "output": ")" +
            std::string(static_cast<size_t>(i % 37), 'y') + " done\"}\n";
  }
  return text;
}

TEST_F(LoadDataset, DataThatNeverTeachToStopAreRefused) {
  const std::string masked = R"({"input_ids": [1, 50, 60, 2], "labels": [-100, -100, 60, -100]})" "\n";
  EXPECT_NE(refusal(masked + masked).find("none of 2 examples teaches the model to stop: EOS stands behind what is learned"), std::string::npos);
  const Dataset dataset = load(masked + R"({"input_ids": [1, 50, 60, 2], "labels": [-100, -100, 60, 2]})");
  EXPECT_EQ(dataset.stats.eos_masked, 1);
  EXPECT_EQ(dataset.documents(), 2);
}

TEST_F(LoadDataset, NumberOfThreadsChangesNothing) {
  const std::string text = many_rows(25000);
  ASSERT_GT(text.size(), size_t{2} << 20);
  options_.packing = true;
  options_.threads = 1;
  options_.max_length = 128;
  const Dataset one = load(text);
  ASSERT_EQ(one.documents(), 25000);
  EXPECT_LT(one.rows(), 25000);
  for (const int threads : {2, 8}) {
    options_.threads = threads;
    const Dataset other = load(text);
    ASSERT_EQ(other.documents(), one.documents());
    for (int64_t d = 0; d < one.documents(); ++d) {
      ASSERT_EQ(other.record(d).hash_low, one.record(d).hash_low) << d;
      ASSERT_EQ(other.place(d), one.place(d));
    }
    ASSERT_EQ(other.rows(), one.rows());
    for (int64_t r = 0; r < one.rows(); ++r) ASSERT_TRUE(std::ranges::equal(one.row(r), other.row(r)));
    EXPECT_EQ(other.stats.hash, one.stats.hash);
    EXPECT_EQ(other.stats.lengths, one.stats.lengths);
    EXPECT_EQ(other.stats.tokens, one.stats.tokens);
  }
}

TEST_F(LoadDataset, TheFirstBadRowIsReportedWhateverTheThreads) {
  std::string text;
  for (int i = 1; i <= 2000; ++i) text += i == 700 || i == 705 || i == 1900 ? "{\"text\": 7}\n" : "{\"text\": \"fine\"}\n";
  for (int attempt = 0; attempt < 5; ++attempt) {
    options_.threads = 1 + attempt;
    EXPECT_NE(refusal(text).find(".jsonl:700"), std::string::npos);
  }
}

TEST_F(LoadDataset, BadRowsAreLeftOutUpToTheirNumberAndTheNextEndsIt) {
  const std::string text = "{\"text\": \"one\"}\n{\"text\": 2}\n{\"text\": \"three\"}\nnot JSON\n{\"text\": \"five\"}\n";
  EXPECT_NE(refusal(text).find(".jsonl:2"), std::string::npos);
  options_.max_bad_rows = 1;
  const std::string message = refusal(text);
  EXPECT_NE(message.find(".jsonl:4"), std::string::npos) << message;
  EXPECT_NE(message.find("bad row number 2; max_bad_rows = 1"), std::string::npos) << message;
  options_.max_bad_rows = 2;
  const Dataset dataset = load(text);
  EXPECT_EQ(dataset.documents(), 3);
  EXPECT_EQ(dataset.stats.bad_rows, 2);
  EXPECT_EQ(dataset.stats.examples, 5);
  ASSERT_EQ(dataset.stats.warnings.size(), 2u);
  EXPECT_NE(dataset.stats.warnings[0].find(".jsonl:2: text: "), std::string::npos) << dataset.stats.warnings[0];
  EXPECT_TRUE(dataset.place(1).ends_with(".jsonl:3"));
  // The first row may be one of them; the schema shows in the next.
  EXPECT_EQ(load("{\"text\": 1}\n{\"text\": \"two\"}\n").documents(), 1);
  EXPECT_NE(refusal("[{\"text\": \"one\"}").find("ends early"), std::string::npos) << "an array cut off is no bad row";
}

TEST_F(LoadDataset, OnlyTheFirstFewOfAKindAreTold) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += R"({"input_ids": [5, 6], "labels": [5, -100]})" "\n" R"({"input_ids": [7, 8]})" "\n";
  const Dataset dataset = load(text);
  EXPECT_EQ(dataset.stats.dropped_untrained, 40);
  ASSERT_EQ(dataset.stats.warnings.size(), 5u);
  EXPECT_NE(dataset.stats.warnings[4].find(".jsonl:9: nothing to learn"), std::string::npos) << dataset.stats.warnings[4];
}

TEST_F(LoadDataset, EqualDocumentsAreCountedWithTheirPlaces) {
  const Dataset dataset = load(R"({"input_ids": [5, 6, 7]})" "\n" R"({"input_ids": [5, 6, 7], "labels": [5, 6, -100]})" "\n"
                               R"({"input_ids": [5, 6, 7]})" "\n" R"({"input_ids": [5, 6]})" "\n" R"({"input_ids": [5, 6, 7]})" "\n");
  EXPECT_EQ(dataset.stats.duplicates, 2);
  ASSERT_EQ(dataset.stats.duplicate_places.size(), 2u);
  const std::string file = path_.string();
  EXPECT_EQ(dataset.stats.duplicate_places[0], file + ":3 is " + file + ":1 again");
  EXPECT_EQ(dataset.stats.duplicate_places[1], file + ":5 is " + file + ":1 again");
}

TEST_F(LoadDataset, DocumentsOfBothPartsAreFound) {
  std::ofstream(path_) << R"({"input_ids": [5, 6, 7]})" "\n" R"({"input_ids": [8, 9]})" "\n" R"({"input_ids": [5, 6, 7]})" "\n";
  const Dataset train = load_dataset(options_, smollm2());
  const std::filesystem::path second = path_.string() + ".eval";
  std::ofstream(second) << R"({"input_ids": [4, 4]})" "\n" R"({"input_ids": [5, 6, 7]})" "\n" R"({"input_ids": [5, 6, 7]})" "\n";
  DataOptions options = options_;
  options.files = {second};
  const Dataset validation = load_dataset(options, smollm2());
  const SharedDocuments shared = find_shared(train, validation);
  EXPECT_EQ(shared.count, 1) << "different ones";
  ASSERT_EQ(shared.places.size(), 1u);
  EXPECT_EQ(shared.places[0], second.string() + ":2 is " + path_.string() + ":1");
  EXPECT_EQ(find_shared(train, Dataset()).count, 0);
  std::filesystem::remove(second);
}

TEST_F(LoadDataset, LengthsAndEndsAreCounted) {
  // SmolLM2: BOS 1, EOS 2, and special tokens below 17.
  const Dataset dataset = load(R"({"input_ids": [1, 50, 60, 2]})" "\n" R"({"input_ids": [1, 1, 60, 2, 70]})" "\n"
                               R"({"input_ids": [50, 60, 2, 90], "labels": [-100, 60, 2, -100]})" "\n" R"({"input_ids": [50, 60]})" "\n");
  EXPECT_EQ(dataset.stats.begin_with_bos, 2);
  EXPECT_EQ(dataset.stats.bos_dropped, 1);
  EXPECT_EQ(dataset.stats.doubled_bos, 0);
  EXPECT_EQ(dataset.stats.end_with_eos, 2);
  EXPECT_EQ(dataset.stats.lengths, (std::vector<int64_t>{0, 1, 3}));
  EXPECT_EQ(dataset.stats.longest, 4);
}

TEST_F(LoadDataset, WeightsDecideHowOftenAFileComes) {
  const std::filesystem::path second = path_.string() + ".2";
  std::string a, b;
  for (int i = 0; i < 10; ++i) {
    a += "{\"input_ids\": [100, " + std::to_string(200 + i) + "]}\n";
    b += "{\"input_ids\": [101, " + std::to_string(300 + i) + "]}\n";
  }
  std::ofstream(path_) << a;
  std::ofstream(second) << b;
  options_.files = {path_, second};
  const auto ids = [&](std::vector<double> weights, uint64_t seed = 42) {
    options_.weights = std::move(weights);
    options_.seed = seed;
    const Dataset dataset = load_dataset(options_, smollm2());
    std::vector<int32_t> seen;
    for (int64_t d = 0; d < dataset.documents(); ++d) seen.push_back(dataset.ids(d)[1]);
    EXPECT_EQ(dataset.stats.documents, static_cast<int64_t>(seen.size()));
    EXPECT_EQ(dataset.stats.tokens, 2 * static_cast<int64_t>(seen.size()));
    return seen;
  };
  std::vector<int32_t> all;
  for (int i = 0; i < 20; ++i) all.push_back(i < 10 ? 200 + i : 290 + i);
  EXPECT_EQ(ids({}), all);
  EXPECT_EQ(ids({1, 1}), all);
  std::vector<int32_t> twice = all;
  twice.insert(twice.end(), all.begin() + 10, all.end());
  EXPECT_EQ(ids({1, 2}), twice) << "the second time behind everything else";
  EXPECT_EQ(ids({0, 1}), std::vector<int32_t>(all.begin() + 10, all.end()));
  const auto half = ids({0.5, 1});
  EXPECT_EQ(half.size(), 15u);
  EXPECT_TRUE(std::is_sorted(half.begin(), half.end())) << "the files' order";
  EXPECT_EQ(ids({0.5, 1}), half);
  EXPECT_NE(ids({0.5, 1}, 43), half);
  EXPECT_EQ(ids({1.5, 0}).size(), 15u);
  options_.weights = {1};
  EXPECT_THROW(load_dataset(options_, smollm2()), ConfigError);
  options_.weights = {0, 0};
  EXPECT_THROW(load_dataset(options_, smollm2()), ConfigError);
  options_.weights = {1, -1};
  EXPECT_THROW(load_dataset(options_, smollm2()), ConfigError);
  std::filesystem::remove(second);
}

TEST_F(LoadDataset, SplitPartsAreDisjointAndTellFindingsOnce) {
  std::string text = "{\"input_ids\": [9, 9], \"labels\": [9, -100]}\n";
  for (int i = 0; i < 50; ++i) text += "{\"input_ids\": [100, " + std::to_string(200 + i) + ", 5]}\n";
  std::ofstream(path_) << text;
  options_.validation_split_ratio = 0.2;
  const DatasetParts parts = load_dataset_parts(options_, smollm2());
  EXPECT_EQ(parts.train.documents(), 40);
  EXPECT_EQ(parts.validation.documents(), 10);
  EXPECT_EQ(parts.train.stats.tokens, 120);
  EXPECT_EQ(parts.validation.stats.tokens, 30);
  EXPECT_EQ(parts.train.stats.warnings.size(), 1u);
  EXPECT_TRUE(parts.validation.stats.warnings.empty());
  std::set<int32_t> seen;
  for (const Dataset* part : {&parts.train, &parts.validation}) {
    for (int64_t d = 0; d < part->documents(); ++d) seen.insert(part->ids(d)[1]);
  }
  EXPECT_EQ(seen.size(), 50u);
  EXPECT_EQ(find_shared(parts.train, parts.validation).count, 0);
}

TEST_F(LoadDataset, WaitingMayStopIt) {
  std::ofstream(path_) << many_rows(25000);
  struct Stop {};
  CacheOptions cache;
  int64_t asked = 0;
  cache.each = [&] {
    if (++asked == 3) throw Stop();
  };
  EXPECT_THROW(load_dataset(options_, smollm2(), cache), Stop);
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
