// Ids and labels of every example of the golden datasets, and the verdict on every broken file.
//
// Units, through load_dataset: data/encode_row data/json_row data/json_view data/row_schema
#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "data/load_dataset.h"
#include "tests/data/fixtures.h"

namespace nibble::data {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

const Tokenizer& smollm2() {
  static const Tokenizer tokenizer = smollm2_tokenizer("gpt-2");  // the goldens' reading of the file
  return tokenizer;
}

DataOptions options_for(const std::string& file) {
  DataOptions options;
  options.files = {golden_path("data/" + file)};
  options.max_length = 8192;
  options.packing = false;
  return options;
}

void check_examples(const DataOptions& options, const json& examples, const char* labels_key) {
  const Dataset dataset = load_dataset(options, smollm2());
  ASSERT_EQ(dataset.documents(), static_cast<int64_t>(examples.size()));
  for (size_t i = 0; i < examples.size(); ++i) {
    SCOPED_TRACE(i);
    const Sample sample = dataset.sample(static_cast<int64_t>(i));
    EXPECT_EQ(sample.ids, examples[i]["ids"].get<Ids>());
    EXPECT_EQ(sample.labels, examples[i][labels_key].get<Ids>());
  }
}

TEST(DatasetGolden, IdsAndLabelsEqualTheStatedOnes) {
  const json files = read_golden_json("data/expected.json")["files"];
  int checked = 0;
  for (const auto& [name, expected] : files.items()) {
    SCOPED_TRACE(name);
    DataOptions options = options_for(expected.value("file", name));
    if (name == "alpaca.jsonl as text") options.chat_template.choice.format = ChatTemplate::kAlpaca;
    options.split_special_tokens = false;  // the goldens' rule; without it one row differs (below)
    const json& examples = expected["examples"].is_string() ? files[expected["examples"].get<std::string>()]["examples"] : expected["examples"];
    check_examples(options, examples, "labels");
    options.assistant_only_loss = false;
    check_examples(options, examples, "labels_train_on_prompt");
    ++checked;
  }
  EXPECT_EQ(checked, 7);
}

// The goldens read <|im_start|> in the text of a message as the token. nibble does so only where it is told to.
TEST(DatasetGolden, OneRowHasTheNameOfASpecialTokenInItsText) {
  const json examples = read_golden_json("data/expected.json")["files"]["alpaca.jsonl"]["examples"];
  const Dataset dataset = load_dataset(options_for("alpaca.jsonl"), smollm2());
  ASSERT_EQ(dataset.documents(), static_cast<int64_t>(examples.size()));
  for (size_t i = 0; i < examples.size(); ++i) {
    const auto expected = examples[i]["ids"].get<Ids>();
    const Ids found = dataset.sample(static_cast<int64_t>(i)).ids;
    EXPECT_EQ(found == expected, i != 7) << i;
    EXPECT_EQ(smollm2().decode(found, false), smollm2().decode(expected, false)) << i;
  }
  ASSERT_EQ(dataset.stats.warnings.size(), 1u);
  EXPECT_NE(dataset.stats.warnings[0].find("alpaca.jsonl:8: the text of a message holds the name of a special token ('<|im_start|>')"), std::string::npos)
      << dataset.stats.warnings[0];
}

TEST(DatasetGolden, BrokenFilesGetTheStatedVerdict) {
  const json files = read_golden_json("data/bad/expected.json")["files"];
  ASSERT_EQ(files.size(), 25u);
  for (const json& expected : files) {
    const std::string name = expected["file"];
    SCOPED_TRACE(name);
    DataOptions options = options_for("bad/" + name);
    options.truncation = Truncation::kTruncate;
    const bool is_gzip = name == "gzip.jsonl";  // "or accepted, if gzip is read": it is, with its three rows
    if (expected["verdict"] == "error" && !is_gzip) {
      try {
        load_dataset(options, smollm2());
        ADD_FAILURE() << "accepted";
      } catch (const DataError& error) {
        EXPECT_EQ(error.place().line, expected["line"].is_null() ? 0 : expected["line"].get<int64_t>()) << error.what();
        EXPECT_NE(error.place().file.find(name), std::string::npos);
        if (!expected["field"].is_null()) {
          EXPECT_TRUE(error.message().starts_with(expected["field"].get<std::string>() + ": ")) << error.what();
        }
      }
      continue;
    }
    const Dataset dataset = load_dataset(options, smollm2());
    EXPECT_EQ(dataset.documents(), is_gzip ? 3 : expected["examples"].get<int64_t>());
    const bool warned = expected["verdict"] == "accepted with a warning";
    EXPECT_EQ(dataset.stats.warnings.size(), warned ? 1u : 0u);
    if (warned) {
      EXPECT_NE(dataset.stats.warnings[0].find(name + ":" + std::to_string(expected["line"].get<int>())), std::string::npos);
    }
  }
}

TEST(DatasetGolden, MaskedExamplesAreKeptWhereEverythingIsTrained) {
  DataOptions options = options_for("bad/only_masked.jsonl");
  options.assistant_only_loss = false;
  EXPECT_EQ(load_dataset(options, smollm2()).documents(), 2);
}

}  // namespace
}  // namespace nibble::data
