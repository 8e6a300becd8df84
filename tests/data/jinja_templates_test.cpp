// The published templates of the goldens, rendered as transformers renders them.
#include <gtest/gtest.h>

#include "core/error.h"
#include "data/jinja/program.h"
#include "tests/data/fixtures.h"

namespace nibble::data::jinja {
namespace {

using nlohmann::ordered_json;

// What apply_chat_template hands to a template: tools and documents are there and none.
ordered_json variables_of(const ordered_json& golden, const ordered_json& rendering) {
  ordered_json out = {{"messages", rendering["messages"]}, {"tools", nullptr}, {"documents", nullptr},
                      {"add_generation_prompt", rendering["add_generation_prompt"]}};
  out["bos_token"] = golden["bos_token"];
  out["eos_token"] = golden["eos_token"];
  if (rendering.contains("arguments")) out.update(rendering["arguments"]);
  return out;
}

TEST(JinjaTemplates, RenderAsTransformersRendersThem) {
  const ordered_json golden = ordered_json::parse(read_golden("chat/templates.json"))["templates"];
  int rendered = 0, refused = 0;
  for (const auto& [name, chat] : golden.items()) {
    const Program program = Program::parse(chat["template"].get<std::string>(), name);
    EXPECT_FALSE(program.has_generation_blocks()) << name;
    for (const auto& [conversation, expected] : chat["renderings"].items()) {
      SCOPED_TRACE(name + ": " + conversation);
      if (expected.contains("error")) {
        EXPECT_THROW(program.render(variables_of(chat, expected)), DataError);
        ++refused;
      } else {
        EXPECT_EQ(program.render(variables_of(chat, expected)).text, expected["rendered"].get<std::string>());
        ++rendered;
      }
    }
  }
  EXPECT_EQ(rendered, 346);
  EXPECT_EQ(refused, 40);
}

}  // namespace
}  // namespace nibble::data::jinja
