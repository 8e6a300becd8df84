// Messages of OpenAI's, TRL's and ShareGPT's kind: roles, parts of content, tools and their calls, flags.
//
// Units: data/row_tool_calls
#include "data/row_messages.h"

#include <gtest/gtest.h>

#include "tests/data/row_reading.h"

namespace nibble::data {
namespace {

std::vector<Message> messages_of(const std::string& list) { return read_as<MessagesRow>("{\"messages\": " + list + "}").conversation.messages; }
Message message_of(const std::string& message) { return messages_of("[" + message + "]").at(0); }
std::string refusal_of_message(const std::string& message) { return row_refusal("{\"messages\": [" + message + "]}"); }

TEST(RowMessages, RolesAreKnownByTheirUsualNames) {
  const std::pair<const char*, const char*> cases[] = {
      {"user", "user"}, {"human", "user"}, {"assistant", "assistant"}, {"gpt", "assistant"}, {"model", "assistant"}, {"system", "system"},
      {"developer", "system"}, {"tool", "tool"}, {"observation", "tool"}, {"function", "tool"}, {"ipython", "tool"}};
  for (const auto& [said, role] : cases) {
    EXPECT_EQ(message_of(std::string(R"({"role": ")") + said + R"(", "content": ""})").role, role);
  }
  const std::string said = refusal_of_message(R"({"role": "critic", "content": "x"})");
  EXPECT_TRUE(said.starts_with("rows.jsonl:1: messages[0].role: unknown role 'critic'")) << said;
  EXPECT_EQ(refusal_of_message(R"({"content": "x"})"), "rows.jsonl:1: messages[0].role: missing");
  EXPECT_EQ(refusal_of_message(R"({"role": null, "content": "x"})"), "rows.jsonl:1: messages[0].role: must be a string, found null");
}

TEST(RowMessages, ContentIsATextOrPartsOfText) {
  EXPECT_EQ(message_of(R"({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})").content, "ab");
  EXPECT_EQ(message_of(R"({"role": "user", "content": []})").content, "");
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"role": "user"})", "messages[0].content: missing"},
      {R"({"role": "user", "content": null})", "messages[0].content: must be a string, found null"},
      {R"({"role": "user", "content": 5})", "messages[0].content: must be a string, found a number"},
      {R"({"role": "user", "content": ["a"]})", "messages[0].content[0]: must be an object {\"type\": \"text\", \"text\": ...}, found a string"},
      {R"({"role": "user", "content": [{"type": "image_url", "image_url": {}}]})",
       "messages[0].content[0].type: is 'image_url': only text can be trained on; leave such rows out"},
      {R"({"role": "user", "content": [{"type": "text"}]})", "messages[0].content[0].text: missing"},
      {R"("hello")", "messages[0]: must be an object with 'role' and 'content', found a string"}};
  for (const auto& [text, said] : wrong) EXPECT_EQ(refusal_of_message(text), std::string("rows.jsonl:1: ") + said);
  EXPECT_EQ(row_refusal(R"({"messages": []})"), "rows.jsonl:1: messages: is empty: a conversation needs a message");
  EXPECT_EQ(row_refusal(R"({"messages": "x"})"), "rows.jsonl:1: messages: must be a list of messages, found a string");
}

TEST(RowMessages, ToolCallsGetTheirArgumentsAsObjects) {
  const Message message = message_of(R"({"role": "assistant", "content": null, "tool_calls": [
      {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": [\"\\u00e9\"]}"}},
      {"type": "function", "function": {"name": "g", "arguments": {"z": null}}},
      {"name": "h", "arguments": ""}, {"type": "function", "function": {"name": "i"}}]})");
  EXPECT_EQ(message.content, "");
  // In the order of the row: templates write them out as they come.
  EXPECT_EQ(message.fields.dump(), R"({"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":{"b":1,"a":["é"]}}},)"
                                   R"({"type":"function","function":{"name":"g","arguments":{"z":null}}},{"name":"h","arguments":{}},)"
                                   R"({"type":"function","function":{"name":"i","arguments":{}}}]})");
  EXPECT_EQ(message_of(R"({"role": "assistant", "content": "x", "tool_calls": []})").fields.dump(), "{}");
  EXPECT_EQ(message_of(R"({"role": "assistant", "content": "x", "tool_calls": null})").fields.dump(), "{}");
  EXPECT_EQ(message_of(R"({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}})").fields.dump(),
            R"({"tool_calls":[{"type":"function","function":{"name":"f","arguments":{}}}]})");
}

TEST(RowMessages, DamagedToolCallsNameTheirField) {
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"a": 1})", "tool_calls: must be a list of calls, found an object"},
      {R"(["f"])", "tool_calls[0]: must be an object with 'name' and 'arguments', found a string"},
      {R"([{"function": "f"}])", "tool_calls[0].function: must be an object with 'name' and 'arguments', found a string"},
      {R"([{"function": {"arguments": {}}}])", "tool_calls[0].function.name: missing"},
      {R"([{"function": {"name": "f", "arguments": [1]}}])",
       "tool_calls[0].function.arguments: must be an object, or a JSON string of one, found a list"},
      {R"([{"function": {"name": "f", "arguments": "[1]"}}])",
       "tool_calls[0].function.arguments: must be an object, or a JSON string of one, found a list"},
      {R"([{"function": {"name": "f", "arguments": "{\"a\": 1"}}])",
       "tool_calls[0].function.arguments: the JSON in this string: ends early"},
      {R"([{"function": {"name": "f", "arguments": "{\"a\": 1, \"a\": 2}"}}])",
       "tool_calls[0].function.arguments: the JSON in this string: the key 'a' is given twice"}};
  for (const auto& [calls, said] : wrong) {
    const std::string message = refusal_of_message(std::string(R"({"role": "assistant", "content": "", "tool_calls": )") + calls + "}");
    EXPECT_TRUE(message.starts_with(std::string("rows.jsonl:1: messages[0].") + said)) << message;
  }
  // Only the assistant calls: beside other roles content stays required.
  EXPECT_EQ(refusal_of_message(R"({"role": "user", "content": null, "tool_calls": [{"name": "f"}]})"),
            "rows.jsonl:1: messages[0].content: must be a string, found null");
}

TEST(RowMessages, WhatElseAMessageCarriesStaysInItsOrder) {
  const Message message = message_of(R"({"name": "n", "role": "tool", "tool_call_id": "c1", "content": "5", "x": null, "reasoning_content": "why"})");
  EXPECT_EQ(message.fields.dump(), R"({"name":"n","tool_call_id":"c1","reasoning_content":"why"})");
}

TEST(RowMessages, FlagsSayWhetherAnAnswerIsLearned) {
  const auto train = [](const std::string& flags) { return message_of(R"({"role": "assistant", "content": "x")" + flags + "}").train; };
  EXPECT_EQ(train(""), std::nullopt);
  EXPECT_EQ(train(R"(, "train": true)"), true);
  EXPECT_EQ(train(R"(, "train": false)"), false);
  EXPECT_EQ(train(R"(, "train": null)"), std::nullopt);
  EXPECT_EQ(train(R"(, "weight": 0)"), false);
  EXPECT_EQ(train(R"(, "weight": 1.0)"), true);
  EXPECT_EQ(message_of(R"({"role": "user", "content": "x", "weight": 0})").train, false);
  EXPECT_EQ(refusal_of_message(R"({"role": "assistant", "content": "x", "weight": 2})"),
            "rows.jsonl:1: messages[0].weight: must be 0 or 1 (whether the answer is learned), found 2");
  EXPECT_EQ(refusal_of_message(R"({"role": "assistant", "content": "x", "train": 1})"),
            "rows.jsonl:1: messages[0].train: must be true or false, found a number");
  EXPECT_EQ(refusal_of_message(R"({"role": "assistant", "content": "x", "train": true, "weight": 0})"),
            "rows.jsonl:1: messages[0].weight: says other than train");
  EXPECT_TRUE(refusal_of_message(R"({"role": "user", "content": "x", "train": true})").starts_with("rows.jsonl:1: messages[0].train: a message of role user"));
}

TEST(RowMessages, ShareGptHasItsOwnNames) {
  const auto row = read_as<MessagesRow>(R"({"system": "s", "tools": "[{\"name\": \"f\"}]", "conversations": [{"from": "human", "value": "q"},
      {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"a\": 1}}"}, {"from": "observation", "value": "5"}, {"from": "gpt", "value": "a"}]})");
  const auto& messages = row.conversation.messages;
  ASSERT_EQ(messages.size(), 5u);
  std::string roles;
  for (const Message& message : messages) roles += message.role + " ";
  EXPECT_EQ(roles, "system user assistant tool assistant ");
  EXPECT_EQ(messages[2].content, "");
  EXPECT_EQ(messages[2].fields.dump(), R"({"tool_calls":[{"type":"function","function":{"name":"f","arguments":{"a":1}}}]})");
  EXPECT_EQ(row.conversation.tools.dump(), R"([{"name":"f"}])");
  EXPECT_EQ(row_refusal(R"({"conversations": [{"from": "function_call", "value": "f 1"}]})").find("rows.jsonl:1: conversations[0].value: the JSON in this string: invalid JSON"), 0u);
  EXPECT_EQ(row_refusal(R"({"conversations": [{"from": "gpt", "value": 5}]})"), "rows.jsonl:1: conversations[0].value: must be a string, found a number");
}

TEST(RowMessages, ToolsAreAListOrItsText) {
  const auto tools = [](const std::string& value) {
    return read_as<MessagesRow>(R"({"messages": [{"role": "user", "content": "x"}], "tools": )" + value + "}").conversation.tools;
  };
  EXPECT_EQ(tools(R"([{"type": "function", "function": {"name": "f"}}])").dump(), R"([{"type":"function","function":{"name":"f"}}])");
  for (const char* none : {"null", "[]", "\"\"", "\"[]\""}) EXPECT_TRUE(tools(none).is_null()) << none;
  EXPECT_EQ(refusal_of([&] { tools("5"); }), "rows.jsonl:1: tools: must be a list of tools, or a JSON string of one, found a number");
  EXPECT_EQ(refusal_of([&] { tools("[5]"); }), "rows.jsonl:1: tools[0]: must be an object, found a number");
  EXPECT_EQ(refusal_of([&] { tools("\"[\""); }).find("rows.jsonl:1: tools: the JSON in this string: "), 0u);
}

TEST(RowMessages, ASystemTextOfTheRowStandsInFrontOnce) {
  std::vector<Message> messages{{"user", "q"}};
  put_system_in_front("", messages);
  EXPECT_EQ(messages.size(), 1u);
  put_system_in_front("s", messages);
  put_system_in_front("s", messages);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].content, "s");
}

}  // namespace
}  // namespace nibble::data
