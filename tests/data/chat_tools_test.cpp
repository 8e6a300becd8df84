// Conversations with tools through the models' own templates, as transformers renders them (tests/golden/chat/tools.json).
// Units: data/jinja_chat, data/answer_spans
#include <gtest/gtest.h>

#include "core/error.h"
#include "data/template.h"
#include "tests/data/chat_fixtures.h"

namespace nibble::data {
namespace {

using nlohmann::json;

TEST(ChatTools, RenderAsTransformersDoesWithCallsLearned) {
  const auto golden = nlohmann::ordered_json::parse(read_golden("chat/tools.json"))["templates"];
  const json templates = read_golden_json("chat/templates.json")["templates"];
  int rendered = 0, refused = 0;
  for (const auto& [name, conversations] : golden.items()) {
    const json& own = templates[name];
    const Template chat = choose_template({}, byte_tokenizer(published_specials(), own["bos_token"], own["eos_token"], own["template"]));
    ASSERT_TRUE(chat.format) << name;  // which has no tools: everything here goes through the Jinja
    for (const auto& [key, expected] : conversations.items()) {
      SCOPED_TRACE(name + ": " + key);
      Conversation said = conversation_of(expected["messages"]);
      said.tools = expected["tools"];
      const bool prompt = expected["add_generation_prompt"];
      if (expected.contains("error")) {
        EXPECT_THROW(render(chat, said, prompt), DataError);
        ++refused;
        continue;
      }
      const Rendering out = render(chat, said, prompt);
      EXPECT_EQ(out.text, expected["rendered"].get<std::string>());
      EXPECT_EQ(spans_of(out), json(expected["answer_spans_utf8"]));
      ++rendered;
    }
  }
  EXPECT_EQ(rendered + refused, 5 * 12);
  EXPECT_GT(rendered, 40);
}

}  // namespace
}  // namespace nibble::data
