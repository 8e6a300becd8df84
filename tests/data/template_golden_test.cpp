// Renderings and answer spans of the real Jinja templates.
#include <gtest/gtest.h>

#include "core/error.h"
#include "data/template.h"
#include "tests/data/fixtures.h"

namespace nibble::data {
namespace {

using nlohmann::json;

// Every conversation of one golden template; returns how many were rendered and how many refused.
std::pair<int, int> check_renderings(const std::string& name, const Template& chat) {
  const json golden = read_golden_json("chat/templates.json")["templates"][name];
  int rendered = 0, refused = 0;
  for (const auto& [conversation, expected] : golden["renderings"].items()) {
    SCOPED_TRACE(name + ": " + conversation);
    Conversation said;
    for (const json& message : expected["messages"]) said.messages.push_back({message["role"], message["content"]});
    const bool prompt = expected["add_generation_prompt"].get<bool>();
    // Qwen's template leaves a message of an unknown role out without a word; such a conversation is refused here.
    const bool left_out = !chat.any_role && conversation == "unknown_role";
    if (expected.contains("error") || left_out) {
      EXPECT_THROW(render(chat, said, prompt), DataError);
      ++refused;
      continue;
    }
    const Rendering out = render(chat, said, prompt);
    EXPECT_EQ(out.text, expected["rendered"].get<std::string>());
    json spans = json::array();
    for (const Answer& answer : out.answers) spans.push_back({answer.span.begin, answer.span.end});
    EXPECT_EQ(spans, expected["answer_spans_utf8"]);
    ++rendered;
  }
  return {rendered, refused};
}

std::string golden_jinja(const std::string& name) {
  return read_golden_json("chat/templates.json")["templates"][name]["template"].get<std::string>();
}

TEST(TemplateGolden, ChatmlFamilyRendersAsTheModelsOwnTemplate) {
  for (const char* name : {"smollm2", "chatml", "qwen2.5"}) {
    const auto chat = recognize_template(golden_jinja(name));
    ASSERT_TRUE(chat.has_value()) << name;
    EXPECT_EQ(check_renderings(name, *chat), std::string(name) == "qwen2.5" ? std::pair(19, 1) : std::pair(20, 0)) << name;
  }
}

TEST(TemplateGolden, AlpacaRendersAsDocumented) {
  const Template chat{ChatTemplate::kAlpaca, "", "", false, "</s>"};
  EXPECT_EQ(check_renderings("alpaca", chat), std::pair(18, 2));
}

TEST(TemplateGolden, OtherTemplatesAreNotTakenForChatml) {
  const json all = read_golden_json("chat/templates.json")["templates"];
  int others = 0;
  for (const auto& [name, golden] : all.items()) {
    if (name == "smollm2" || name == "chatml" || name == "qwen2.5") continue;
    EXPECT_FALSE(recognize_template(golden["template"].get<std::string>()).has_value()) << name;
    ++others;
  }
  EXPECT_EQ(others, 16);
}

TEST(Template, ModelWithoutKnownTemplateNamesTheKeyAndTheChoices) {
  const Tokenizer tokenizer = Tokenizer::from_folder(golden_path("tokenizers/llama3"));
  try {
    choose_template(std::nullopt, tokenizer);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("chat_template_path"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("alpaca, chatml"), std::string::npos);
  }
}

TEST(Template, ChatmlNeedsItsTokensInTheVocabulary) {
  const Tokenizer tokenizer = Tokenizer::from_folder(golden_path("tokenizers/llama3"));
  EXPECT_THROW(choose_template(ChatTemplate::kChatml, tokenizer), ConfigError);
  EXPECT_EQ(choose_template(ChatTemplate::kChatml, smollm2_tokenizer()).end_of_turn, "<|im_end|>");
}

TEST(Template, AlpacaWritesBosOnlyWhereTheTokenizerAddsIt) {
  const Tokenizer llama3 = Tokenizer::from_folder(golden_path("tokenizers/llama3"));
  EXPECT_EQ(choose_template(ChatTemplate::kAlpaca, llama3).bos, "<|begin_of_text|>");
  EXPECT_EQ(choose_template(ChatTemplate::kAlpaca, llama3).end_of_turn, "<|eot_id|>");
  EXPECT_EQ(choose_template(ChatTemplate::kAlpaca, smollm2_tokenizer()).bos, "");
}

}  // namespace
}  // namespace nibble::data
