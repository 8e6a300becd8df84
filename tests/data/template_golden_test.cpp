// Renderings and answers of the published templates (tests/golden/chat), by the built-in formats and by the templates themselves.
// Units: data/chat_format, data/render_turns, data/think_block, data/jinja_chat, data/answer_spans
#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "data/jinja_chat.h"
#include "data/render_turns.h"
#include "data/template.h"
#include "schema/enum_names.h"
#include "tests/data/chat_fixtures.h"

namespace nibble::data {
namespace {

using nlohmann::json;

const json& golden_templates() {
  static const json all = read_golden_json("chat/templates.json")["templates"];
  return all;
}

// What came out of the row is in the conversation, and what does not is not text of a message.
void expect_contents_of(const Conversation& said, const Rendering& out) {
  uint32_t end = 0;
  for (const Span& span : out.contents) {
    EXPECT_LT(span.begin, span.end);
    EXPECT_GE(span.begin, end);
    end = span.end;
    const std::string part = out.text.substr(span.begin, span.end - span.begin);
    bool found = false;
    for (const Message& message : said.messages) {
      found = found || message.content.find(part) != std::string::npos || message.fields.dump().find(part) != std::string::npos;
    }
    EXPECT_TRUE(found) << part;
  }
  EXPECT_LE(end, out.text.size());
}

ChatTemplate template_named(const std::string& name) {
  const auto& names = schema::EnumNames<ChatTemplate>::names;
  const auto found = std::find(names.begin(), names.end(), name);
  EXPECT_NE(found, names.end()) << name;
  return static_cast<ChatTemplate>(found - names.begin());
}

Tokenizer tokenizer_of(const json& golden, const std::string& chat_template) {
  return byte_tokenizer(published_specials(), golden["bos_token"], golden["eos_token"], chat_template);
}

constexpr int kConversations = 19 * 20 + 6, kRefused = 40;

using RenderGolden = std::function<Rendering(const Conversation&, bool, std::optional<bool>)>;

// Every conversation of a golden template: text, answers and refusals are compared. Returns how many were rendered and refused.
std::pair<int, int> check_golden_renderings(const std::string& name, const RenderGolden& render) {
  int rendered = 0, refused = 0;
  for (const auto& [conversation, expected] : golden_templates()[name]["renderings"].items()) {
    SCOPED_TRACE(name + ": " + conversation);
    const Conversation said = conversation_of(expected["messages"]);
    const bool prompt = expected["add_generation_prompt"];
    std::optional<bool> thinking;
    if (expected.contains("arguments")) thinking = expected["arguments"]["enable_thinking"].get<bool>();
    if (expected.contains("error")) {
      EXPECT_THROW(render(said, prompt, thinking), DataError);
      ++refused;
      continue;
    }
    const Rendering out = render(said, prompt, thinking);
    EXPECT_EQ(out.text, expected["rendered"].get<std::string>());
    EXPECT_EQ(spans_of(out), expected["answer_spans_utf8"]);
    expect_contents_of(said, out);
    ++rendered;
  }
  return {rendered, refused};
}

TEST(TemplateGolden, BuiltInFormatsRenderAsThePublishedTemplates) {
  int rendered = 0, refused = 0;
  for (const auto& [name, golden] : golden_templates().items()) {
    const ChatFormat format = bind_tokens(published_format(template_named(name)), golden["bos_token"], golden["eos_token"]);
    EXPECT_EQ(format.end_of_turn, golden["end_of_turn"].get<std::string>()) << name;
    const auto [yes, no] = check_golden_renderings(name, [&](const Conversation& said, bool prompt, std::optional<bool> thinking) {
      return render_turns(format, said, prompt, thinking);
    });
    rendered += yes;
    refused += no;
  }
  EXPECT_EQ(rendered + refused, kConversations);
  EXPECT_EQ(refused, kRefused);
}

TEST(TemplateGolden, TheTemplatesThemselvesRenderWithTheSameAnswers) {
  int rendered = 0;
  for (const auto& [name, golden] : golden_templates().items()) {
    const Tokenizer tokenizer = tokenizer_of(golden, "");
    const std::string source = golden["template"];
    rendered += check_golden_renderings(name, [&](const Conversation& said, bool prompt, std::optional<bool> thinking) {
                  const JinjaChat jinja(source, name, tokenizer, {thinking, std::nullopt});
                  EXPECT_EQ(jinja.turn_ends().front(), golden["end_of_turn"].get<std::string>());
                  return jinja.render(said, prompt, /*find_answers=*/true);
                }).first;
  }
  EXPECT_EQ(rendered, kConversations - kRefused);
}

TEST(TemplateGolden, EachTemplateIsFoundToBeItsFormat) {
  for (const auto& [name, golden] : golden_templates().items()) {
    const Template chat = choose_template({}, tokenizer_of(golden, golden["template"]));
    EXPECT_EQ(chat.name, name + ", the model's own");
    EXPECT_EQ(chat.end_of_turn, golden["end_of_turn"].get<std::string>());
    ASSERT_TRUE(chat.format.has_value()) << name;
    EXPECT_TRUE(chat.jinja) << name;  // for tools
  }
}

// Each text that the template writes around a message, changed in one letter.
TEST(TemplateGolden, ATemplateThatDiffersInOneLetterRendersByItself) {
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"chatml", "|>assistant"}, {"smollm2", "named SmolLM"}, {"qwen2.5", "assistant.<|im_end|>"}, {"llama3", "+ message"}, {"llama2", "<<SYS>>"},
      {"mistral_v1", "' [INST] '"}, {"gemma", "<end_of_turn>\\n"}, {"phi3", "<|end|>"}, {"deepseek_v2", "User: "}, {"vicuna", "USER: "},
      {"alpaca", "### Instruction"}, {"zephyr", "'<|user|>"}, {"llama3.1", "26 Jul 2024"}, {"qwen3", "'\\n</think>"}};
  for (const auto& [name, text] : changes) {
    const json& golden = golden_templates()[name];
    std::string source = golden["template"];
    const size_t at = source.find(text);
    ASSERT_NE(at, std::string::npos) << name;
    source.replace(at, text.size(), text == "+ message" ? "+ ' ' + message" : text.substr(0, text.size() / 2) + "_" + text.substr(text.size() / 2));
    TemplateRequest request;
    request.answers_needed = false;  // a changed end of a turn is no token
    const Template chat = choose_template(request, tokenizer_of(golden, source));
    EXPECT_EQ(chat.name, "the model's own (Jinja)") << name;
    EXPECT_FALSE(chat.format.has_value()) << name;
  }
}

TEST(TemplateGolden, EveryBuiltInFormatHasItsGolden) {
  for (const std::string_view name : schema::EnumNames<ChatTemplate>::names) EXPECT_TRUE(golden_templates().contains(name)) << name;
  EXPECT_EQ(golden_templates().size(), schema::EnumNames<ChatTemplate>::names.size());
}

}  // namespace
}  // namespace nibble::data
