// Which tokens of a row are trained on under each rule, and what is told about odd rows.
//
// Units: data/trained_spans data/row_warnings
#include "data/encode_row.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "data/row_warnings.h"
#include "tests/data/fixtures.h"
#include "tests/data/row_reading.h"

namespace nibble::data {
namespace {

using Kind = RowWarning::Kind;

const Tokenizer& smollm2() {
  static const Tokenizer tokenizer = smollm2_tokenizer();
  return tokenizer;
}

EncodeRules chatml_rules() {
  EncodeRules rules;
  TemplateRequest request;
  request.choice.format = ChatTemplate::kChatml;
  rules.chat = choose_template(request, smollm2());
  return rules;
}

RowContent content_of(const std::string& row) {
  const std::string file = "rows.jsonl";
  const RowPlace place{file, 1};
  const Json json = parse_row({row, 1}, place);
  return read_row(choose_shape(DatasetFormat::kAuto, {}, json, place), json, place, smollm2().vocab_size());
}

Sample encoded(const std::string& row, const EncodeRules& rules) { return encode_row(content_of(row), rules, smollm2()); }

// The trained tokens as text, a stretch at a time: "4<|im_end|> / 6<|im_end|>".
std::string learned(const Sample& sample) {
  std::string text;
  std::vector<int32_t> stretch;
  for (size_t i = 0; i <= sample.ids.size(); ++i) {
    if (i < sample.ids.size() && sample.labels[i] != kIgnoredLabel) {
      EXPECT_EQ(sample.labels[i], sample.ids[i]);
      stretch.push_back(sample.ids[i]);
    } else if (!stretch.empty()) {
      text += (text.empty() ? "" : " / ") + smollm2().decode(stretch, false);
      stretch.clear();
    }
  }
  return text;
}
std::string learned(const std::string& row, const EncodeRules& rules = chatml_rules()) { return learned(encoded(row, rules)); }

std::vector<Kind> warnings(const Sample& sample) {
  std::vector<Kind> kinds;
  for (const RowWarning& warning : sample.warnings) {
    EXPECT_FALSE(warning.text.empty());
    kinds.push_back(warning.kind);
  }
  return kinds;
}

constexpr const char* kTwoTurns = R"({"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"},
                                     {"role": "user", "content": "3+3?"}, {"role": "assistant", "content": "6"}]})";

TEST(EncodeRow, AnswersAreLearnedWithTheirEndOfTurn) {
  EXPECT_EQ(learned(kTwoTurns), "4<|im_end|> / 6<|im_end|>");
  EXPECT_TRUE(encoded(kTwoTurns, chatml_rules()).warnings.empty());
}

TEST(EncodeRow, TheLastTurnAlone) {
  EncodeRules rules = chatml_rules();
  rules.train_on_last_turn_only = true;
  EXPECT_EQ(learned(kTwoTurns, rules), "6<|im_end|>");
  EXPECT_EQ(learned(R"({"instruction": "3+3?", "output": "6", "history": [["2+2?", "4"]]})", rules), "6<|im_end|>");
  EXPECT_EQ(learned(R"({"instruction": "3+3?", "output": "6", "history": [["2+2?", "4"]]})"), "4<|im_end|> / 6<|im_end|>");
}

TEST(EncodeRow, EverythingWithoutAssistantOnly) {
  EncodeRules rules = chatml_rules();
  rules.assistant_only_loss = false;
  const Sample sample = encoded(kTwoTurns, rules);
  EXPECT_EQ(sample.labels, sample.ids);
  EXPECT_TRUE(sample.warnings.empty());
}

TEST(EncodeRow, AMessagesOwnFlagGoesFirst) {
  const char* row = R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "4", "train": true},
                        {"role": "user", "content": "r"}, {"role": "assistant", "content": "6", "weight": 0}]})";
  EXPECT_EQ(learned(row), "4<|im_end|>");
  EncodeRules rules = chatml_rules();
  rules.train_on_last_turn_only = true;
  EXPECT_EQ(learned(row, rules), "4<|im_end|>");
  rules = chatml_rules();
  rules.assistant_only_loss = false;
  EXPECT_EQ(learned(row, rules), "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n / \n");
}

TEST(EncodeRow, OfAPromptOnlyTheCompletionsAnswers) {
  const char* row = R"({"prompt": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}, {"role": "user", "content": "3+3?"}],
                        "completion": [{"role": "assistant", "content": "6"}]})";
  EXPECT_EQ(learned(row), "6<|im_end|>");
  EncodeRules rules = chatml_rules();
  rules.completion_only_loss = AutoSwitch::kFalse;
  EXPECT_EQ(learned(row, rules), "4<|im_end|> / 6<|im_end|>");
  rules.assistant_only_loss = false;
  EXPECT_EQ(encoded(row, rules).labels, encoded(row, rules).ids);
  rules.completion_only_loss = AutoSwitch::kTrue;
  EXPECT_EQ(learned(row, rules), "6<|im_end|>");
}

TEST(EncodeRow, OfTextsTheCompletionAndEos) {
  const char* row = R"({"prompt": "2+2=", "completion": " 4"})";
  EXPECT_EQ(learned(row, {}), " 4<|im_end|>");
  EncodeRules rules;
  rules.completion_only_loss = AutoSwitch::kFalse;
  EXPECT_EQ(learned(row, rules), "2+2= 4<|im_end|>");
  rules.assistant_only_loss = false;
  rules.completion_only_loss = AutoSwitch::kTrue;
  EXPECT_EQ(learned(row, rules), " 4<|im_end|>");
  rules.completion_only_loss = AutoSwitch::kAuto;
  EXPECT_EQ(learned(row, rules), "2+2= 4<|im_end|>");
}

TEST(EncodeRow, CompletionOnlyIsRefusedWhereThereIsNoCompletion) {
  EncodeRules rules = chatml_rules();
  rules.completion_only_loss = AutoSwitch::kTrue;
  for (const char* row : {kTwoTurns, R"({"text": "x"})", R"({"instruction": "x", "output": "y"})", R"({"input_ids": [5, 6]})",
                          R"({"segments": [{"label": true, "text": "x"}]})"}) {
    EXPECT_THROW(encoded(row, rules), ConfigError) << row;
  }
}

TEST(EncodeRow, SegmentsSayAllThemselves) {
  const char* row = R"({"segments": [{"label": false, "text": "<|im_start|>user\nq<|im_end|>\n"}, {"label": true, "text": "a<|im_end|>"}, {"label": false, "text": "\n"}]})";
  const Sample sample = encoded(row, {});
  EXPECT_EQ(learned(sample), "a<|im_end|>");
  EXPECT_EQ(smollm2().decode(sample.ids, false), "<|im_start|>user\nq<|im_end|>\na<|im_end|>\n");
  EXPECT_TRUE(sample.warnings.empty());
  EncodeRules rules;
  rules.assistant_only_loss = false;
  EXPECT_EQ(encoded(row, rules).labels, sample.ids);
  EXPECT_EQ(warnings(encoded(R"({"segments": [{"label": true, "text": "no end"}]})", {})), (std::vector<Kind>{Kind::kNoEndOfTurn}));
}

TEST(EncodeRow, NamesOfSpecialTokensInAMessageAreText) {
  const Sample sample = encoded(R"({"messages": [{"role": "user", "content": "what is <|im_end|>?"}, {"role": "assistant", "content": "<|im_end|><|im_start|>"}]})",
                                chatml_rules());
  EXPECT_EQ(std::count(sample.ids.begin(), sample.ids.end(), 2), 2);
  EXPECT_EQ(learned(sample), "<|im_end|><|im_start|><|im_end|>");
  EXPECT_EQ(warnings(sample), (std::vector<Kind>{Kind::kSpecialText}));
  EXPECT_NE(sample.warnings[0].text.find("('<|im_end|>', '<|im_start|>')"), std::string::npos) << sample.warnings[0].text;
  EncodeRules rules = chatml_rules();
  rules.split_special_tokens = false;
  const Sample parsed = encoded(R"({"messages": [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", "content": "x"}]})", rules);
  EXPECT_EQ(std::count(parsed.ids.begin(), parsed.ids.end(), 2), 3);
  EXPECT_TRUE(parsed.warnings.empty());
  // A text row is the user's own markup.
  EXPECT_EQ(encoded(R"({"text": "a<|im_end|>"})", {}).ids.back(), 2);
  EXPECT_TRUE(encoded(R"({"text": "a<|im_end|>b"})", {}).warnings.empty());
}

TEST(EncodeRow, TwoBosInFrontBecomeOne) {
  const Tokenizer llama3 = Tokenizer::from_folder(golden_path("tokenizers/llama3"));
  ASSERT_TRUE(llama3.adds_bos());
  const std::string bos = llama3.token(llama3.bos_id());
  const Sample single = encode_row(TextRow{"a b"}, {}, llama3);
  const Sample doubled = encode_row(TextRow{bos + "a b"}, {}, llama3);
  EXPECT_EQ(doubled.ids, single.ids);
  EXPECT_EQ(warnings(doubled), (std::vector<Kind>{Kind::kDoubledBos}));
  EXPECT_TRUE(single.warnings.empty());
  PretokenizedRow row{{llama3.bos_id(), llama3.bos_id(), 5}, {kIgnoredLabel, kIgnoredLabel, 5}, false};
  const Sample tokens = encode_row(row, {}, llama3);
  EXPECT_EQ(tokens.ids, (std::vector<int32_t>{llama3.bos_id(), 5}));
  EXPECT_EQ(tokens.labels, (std::vector<int32_t>{kIgnoredLabel, 5}));
  EXPECT_EQ(warnings(tokens), (std::vector<Kind>{Kind::kDoubledBos}));
  // The prompt's BOS is not learned, doubled or not.
  const Sample completion = encode_row(PromptCompletionRow{bos, "a"}, {}, llama3);
  EXPECT_EQ(completion.labels[0], kIgnoredLabel);
  EXPECT_NE(completion.labels[1], kIgnoredLabel);
}

// Gemma's published template and others leave out what they have no place for.
TEST(EncodeRow, AMessageThatTheTemplateLeavesOutIsTold) {
  Rendering rendering;
  rendering.left_out = {1, 2};
  const Conversation said{{{"user", "q"}, {"system", "s"}, {"tool", "t"}}};
  std::vector<RowWarning> told;
  warn_of_left_out(rendering, said, told);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, Kind::kLeftOut);
  EXPECT_EQ(told[0].text, "the chat template leaves out message 2 (of role system) and 1 more");
  told.clear();
  warn_of_left_out({}, said, told);
  EXPECT_TRUE(told.empty());
}

TEST(EncodeRow, LabelsThatTeachNoEndAreTold) {
  // EOS (2) is also SmolLM2's padding.
  Sample sample = encoded(R"({"input_ids": [1, 50, 60, 2, 2], "labels": [-100, -100, 60, -100, -100]})", {});
  EXPECT_EQ(warnings(sample), (std::vector<Kind>{Kind::kEosMasked}));
  EXPECT_NE(sample.warnings[0].text.find("labels[3] masks '<|im_end|>'"), std::string::npos) << sample.warnings[0].text;
  EXPECT_NE(sample.warnings[0].text.find("also the padding token"), std::string::npos);
  EXPECT_EQ(warnings(encoded(R"({"input_ids": [1, 50, 60], "labels": [-100, -100, 60]})", {})), (std::vector<Kind>{Kind::kNoEndOfTurn}));
  EXPECT_TRUE(encoded(R"({"input_ids": [1, 50, 60, 2, 2], "labels": [-100, -100, 60, 2, -100]})", {}).warnings.empty());
  // Running text has no ends to teach.
  EXPECT_TRUE(encoded(R"({"input_ids": [50, 60]})", {}).warnings.empty());
  EXPECT_TRUE(encoded(R"({"input_ids": [50, 60], "labels": [50, 60]})", {}).warnings.empty());
}

}  // namespace
}  // namespace nibble::data
