// Which shape a file has, what its rows say, and how rows that do not fit are refused, in the file's own names.
//
// Units: data/row_tokens data/row_value
#include "data/row_schema.h"

#include <gtest/gtest.h>

#include "tests/data/row_reading.h"

namespace nibble::data {
namespace {

RowShape shape_of(const std::string& row, const FieldNames& names = {}, DatasetFormat format = DatasetFormat::kAuto) {
  const std::string file = "rows.jsonl";
  const RowPlace place{file, 1};
  return choose_shape(format, names, parse_row({row, 1}, place), place);
}

TEST(RowSchema, IsToldByTheKeysOfTheFirstRow) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"text": "x"})", "text"},
      {R"({"id": 1, "input_ids": [1], "text": "x"})", "pretokenized"},
      {R"({"messages": [{"role": "user", "content": "x"}]})", "messages"},
      {R"({"conversations": [{"from": "human", "value": "x"}]})", "sharegpt"},
      {R"({"conversations": [{"role": "user", "content": "x"}]})", "messages"},
      {R"({"messages": [{"from": "human", "value": "x"}]})", "sharegpt"},
      {R"({"instruction": "x", "output": "y"})", "alpaca"},
      {R"({"prompt": "x", "completion": "y"})", "prompt-completion"},
      {R"({"segments": [{"label": true, "text": "x"}]})", "segments"}};
  for (const auto& [row, name] : cases) {
    EXPECT_EQ(schema_name(shape_of(row).schema), name) << row;
    EXPECT_EQ(row_refusal(row), "") << row;
  }
  EXPECT_EQ(shape_of(R"({"conversations": [{"role": "user", "content": "x"}]})").fields.messages, "conversations");
  EXPECT_EQ(shape_of(R"({"messages": [{"from": "human", "value": "x"}]})").fields.content, "value");
}

TEST(RowSchema, TemplatesAreForConversations) {
  EXPECT_TRUE(needs_template(shape_of(R"({"messages": []})")));
  EXPECT_TRUE(needs_template(shape_of(R"({"conversations": []})")));
  EXPECT_TRUE(needs_template(shape_of(R"({"instruction": ""})")));
  EXPECT_TRUE(needs_template(shape_of(R"({"prompt": [{"role": "user", "content": "x"}]})")));
  EXPECT_FALSE(needs_template(shape_of(R"({"prompt": "x"})")));
  EXPECT_FALSE(needs_template(shape_of(R"({"text": ""})")));
  EXPECT_FALSE(needs_template(shape_of(R"({"segments": []})")));
  EXPECT_FALSE(needs_template(shape_of(R"({"input_ids": []})")));
}

TEST(RowSchema, AFixedFormatWinsOverTheKeys) {
  const char* row = R"({"text": "plain", "prompt": "a", "completion": "b"})";
  EXPECT_EQ(shape_of(row).schema, RowSchema::kPromptCompletion);
  EXPECT_EQ(read_as<TextRow>(row, {}, DatasetFormat::kText).text, "plain");
  const std::string said = row_refusal(R"({"text": "x"})", {}, DatasetFormat::kSegments);
  EXPECT_NE(said.find("has the fields of text; dataset_format is segments"), std::string::npos) << said;
  EXPECT_EQ(row_refusal(R"({"other": 1})", {}, DatasetFormat::kMessages), "rows.jsonl:1: messages: missing");
}

TEST(RowSchema, ReadsAlpacaWithSystemAndHistory) {
  const auto row = read_as<AlpacaRow>(R"({"instruction": "i", "input": null, "output": "o", "system": "s", "history": [["q", "a"], ["r", "b"]]})");
  EXPECT_EQ(row.instruction + row.input + row.output + row.system, "ios");
  EXPECT_EQ(row.history, (std::vector<std::pair<std::string, std::string>>{{"q", "a"}, {"r", "b"}}));
  EXPECT_EQ(row_refusal(R"({"instruction": "i", "output": "o", "history": [["q"]]})"),
            "rows.jsonl:1: history[0]: must be a pair of strings [question, answer]");
  EXPECT_EQ(row_refusal(R"({"instruction": "i", "output": "o", "history": "q"})"),
            "rows.jsonl:1: history: must be a list of [question, answer] pairs, found a string");
  EXPECT_EQ(row_refusal(R"({"instruction": "i", "output": "o", "input": 5})"), "rows.jsonl:1: input: must be a string, found a number");
  EXPECT_EQ(row_refusal(R"({"instruction": "i"})"), "rows.jsonl:1: output: missing (a field of another name is told by dataset_output_field)");
}

TEST(RowSchema, ReadsSegments) {
  const auto row = read_as<SegmentsRow>(R"({"segments": [{"label": false, "text": "a"}, {"label": true, "text": ""}]})");
  ASSERT_EQ(row.segments.size(), 2u);
  EXPECT_EQ(row.segments[0].text, "a");
  EXPECT_FALSE(row.segments[0].label);
  EXPECT_TRUE(row.segments[1].label);
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"segments": []})", "segments: is empty"},
      {R"({"segments": {}})", "segments: must be a list of {label, text}, found an object"},
      {R"({"segments": ["a"]})", "segments[0]: must be an object with 'label' and 'text', found a string"},
      {R"({"segments": [{"text": "a"}]})", "segments[0].label: missing"},
      {R"({"segments": [{"label": 1, "text": "a"}]})", "segments[0].label: must be true (learned) or false, found a number"},
      {R"({"segments": [{"label": true}]})", "segments[0].text: missing"}};
  for (const auto& [text, said] : wrong) EXPECT_EQ(row_refusal(text), std::string("rows.jsonl:1: ") + said);
}

TEST(RowSchema, ReadsTokensWithoutTheirPadding) {
  const auto row = read_as<PretokenizedRow>(R"({"input_ids": [5, 6, 7, 0], "labels": [-100, 6, 7, -100], "attention_mask": [1, 1, 1, 0]})");
  EXPECT_EQ(row.ids, (std::vector<int32_t>{5, 6, 7}));
  EXPECT_EQ(row.labels, (std::vector<int32_t>{-100, 6, 7}));
  EXPECT_TRUE(row.has_labels);
  EXPECT_FALSE(read_as<PretokenizedRow>(R"({"input_ids": [5], "labels": null, "attention_mask": null})").has_labels);
  EXPECT_EQ(row_refusal(R"({"input_ids": [5, 1000]})"), "rows.jsonl:1: input_ids[1]: is 1000, outside 0..999");
  EXPECT_EQ(row_refusal(R"({"input_ids": [true]})"), "rows.jsonl:1: input_ids[0]: must be an integer, found true");
}

TEST(RowSchema, ReadsPromptAndCompletionAsTextsOrAsMessages) {
  const auto texts = read_as<PromptCompletionRow>(R"({"prompt": "p", "completion": "c"})");
  EXPECT_EQ(texts.prompt + texts.completion, "pc");
  const auto row = read_as<MessagesRow>(R"({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}],
                                            "system": "s", "tools": []})");
  ASSERT_EQ(row.conversation.messages.size(), 3u);
  EXPECT_EQ(row.completion, 2);
  EXPECT_EQ(row.conversation.messages[0].role, "system");
  EXPECT_EQ(row.conversation.messages[2].content, "a");
  EXPECT_TRUE(row.conversation.tools.is_null());
  EXPECT_EQ(row_refusal(R"({"prompt": "p", "completion": []})"), "rows.jsonl:1: completion: must be a string, found a list");
  EXPECT_EQ(row_refusal(R"({"prompt": [{"role": "user", "content": "q"}], "completion": "c"})"),
            "rows.jsonl:1: completion: must be a list of messages, found a string");
}

TEST(RowSchema, OtherNamesAreReadAndTold) {
  FieldNames names;
  names.prompt = "question";
  names.completion = "answer";
  EXPECT_EQ(read_as<PromptCompletionRow>(R"({"text": "no", "question": "p", "answer": "c"})", names).completion, "c");
  EXPECT_EQ(row_refusal(R"({"question": "p", "answer": 1})", names), "rows.jsonl:1: answer: must be a string, found a number");
  EXPECT_EQ(row_refusal(R"({"question": "p"})", names), "rows.jsonl:1: answer: missing (a field of another name is told by dataset_completion_field)");
  names = {};
  names.text = "content";
  EXPECT_EQ(read_as<TextRow>(R"({"content": "x"})", names).text, "x");
  names = {};
  names.messages = "dialog";
  names.role = "who";
  names.content = "says";
  names.user_role = "customer";
  names.assistant_role = "agent";
  const auto row = read_as<MessagesRow>(R"({"dialog": [{"who": "customer", "says": "q"}, {"who": "agent", "says": "a"}, {"who": "user", "says": "r"}]})", names);
  ASSERT_EQ(row.conversation.messages.size(), 3u);
  EXPECT_EQ(row.conversation.messages[0].role, "user");
  EXPECT_EQ(row.conversation.messages[1].role, "assistant");
  EXPECT_EQ(row.conversation.messages[1].content, "a");
  EXPECT_EQ(row.conversation.messages[2].role, "user");
  EXPECT_TRUE(row.conversation.messages[0].fields.empty());
  EXPECT_EQ(row_refusal(R"({"dialog": [{"who": "agent", "says": null}]})", names), "rows.jsonl:1: dialog[0].says: must be a string, found null");
}

TEST(RowSchema, ARowOfAnotherShapeNamesBoth) {
  EXPECT_EQ(row_refusal(R"({"messages": []})", {}, DatasetFormat::kAuto, R"({"text": "x"})"),
            "rows.jsonl:2: has the fields of messages; line 1 had those of text (one schema a file)");
  EXPECT_EQ(row_refusal(R"({"other": 1})", {}, DatasetFormat::kAuto, R"({"text": "x"})"), "rows.jsonl:2: text: missing");
}

TEST(RowSchema, UnknownKeysAreListedWithWhatToDo) {
  const std::string said = row_refusal(R"({"question": "q", "answer": "a"})");
  EXPECT_NE(said.find("(question, answer)"), std::string::npos) << said;
  EXPECT_NE(said.find("dataset_prompt_field"), std::string::npos);
  EXPECT_NE(row_refusal("{}").find("(none)"), std::string::npos);
  EXPECT_NE(row_refusal(R"({"chosen": "q", "rejected": "a"})").find("preference data"), std::string::npos);
  // A key of a megabyte does not become a message of a megabyte.
  EXPECT_LT(row_refusal("{\"" + std::string(1 << 20, 'k') + "\": 1}").size(), 1000u);
}

}  // namespace
}  // namespace nibble::data
