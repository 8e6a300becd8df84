// chat_template_path and the keys beside it.
#include "schema/template_choice.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "schema/enum_names.h"
#include "schema/print.h"
#include "tests/schema/fixtures.h"

namespace nibble::schema {
namespace {

TEST(TemplateChoice, ReadsNamesOtherNamesAndPaths) {
  EXPECT_EQ(parse_template_choice("auto"), TemplateChoice());
  EXPECT_EQ(parse_template_choice("tokenizer_default"), TemplateChoice());
  EXPECT_EQ(parse_template_choice("llama3.1")->format, ChatTemplate::kLlama31);
  EXPECT_EQ(parse_template_choice("llama-3")->format, ChatTemplate::kLlama3);
  EXPECT_EQ(parse_template_choice("mistral")->format, ChatTemplate::kMistralV3);
  EXPECT_EQ(parse_template_choice("my.jinja")->path, "my.jinja");
  EXPECT_EQ(parse_template_choice("./folder")->path, "./folder");
  EXPECT_FALSE(parse_template_choice("lama3"));
  EXPECT_FALSE(parse_template_choice(""));
  EXPECT_FALSE(parse_template_choice(".jinja"));
  EXPECT_FALSE(parse_template_choice(std::string_view("a/\0b", 4)));
}

TEST(TemplateChoice, TextReadsBackAsTheChoice) {
  for (const std::string_view name : EnumNames<ChatTemplate>::names) {
    const auto choice = parse_template_choice(name);
    ASSERT_TRUE(choice) << name;
    EXPECT_EQ(template_choice_text(*choice), name);
  }
  EXPECT_EQ(template_choice_text({}), "auto");
  EXPECT_EQ(template_choice_text({std::nullopt, "/t/x.jinja"}), "/t/x.jinja");
  // No two formats share a name.
  for (const auto& alias : EnumAliases<ChatTemplate>::names) {
    const auto& names = EnumNames<ChatTemplate>::names;
    EXPECT_EQ(std::find(names.begin(), names.end(), alias.name), names.end()) << alias.name;
  }
}

TEST(TemplateChoice, AMistypedNameIsToldWithTheNearest) {
  const std::string said = refusal("chat_template_path: lama3\n");
  EXPECT_TRUE(contains(said, "chat_template_path = lama3 is not auto")) << said;
  EXPECT_TRUE(contains(said, "did you mean 'llama3'?")) << said;
  EXPECT_TRUE(contains(said, "mistral_v3_tekken")) << said;
  EXPECT_FALSE(contains(refusal("chat_template_path: nothing_like_it\n"), "did you mean"));
}

TEST(TemplateChoice, PathsStartAtTheYamlFile) {
  const Folder folder;
  const auto loaded = load_run_config(folder.write("chat_template_path: t/x.jinja\n"), {}, Needs::kNothing);
  const std::string path = loaded.config.chat_template_path.path;
  EXPECT_TRUE(path.starts_with("/") && path.ends_with("/t/x.jinja")) << path;
  EXPECT_TRUE(contains(effective_yaml(loaded), "chat_template_path: " + path));
  EXPECT_EQ(load("chat_template: chatml\n").config.chat_template_path.format, ChatTemplate::kChatml);
}

TEST(TemplateAffixes, StandInPlaceOfATemplate) {
  const std::string affixes = "chat_template_user_prefix: \"Q: \"\nchat_template_assistant_prefix: \"A:\"\n";
  EXPECT_TRUE(has_template_affixes(load(affixes).config));
  EXPECT_FALSE(has_template_affixes(load("").config));
  EXPECT_TRUE(contains(refusal(affixes + "chat_template_path: chatml\n"), "keep one of them"));
  EXPECT_TRUE(contains(refusal("chat_template_system_prefix: s\n"), "nothing would tell a question from its answer"));
  EXPECT_TRUE(contains(refusal("chat_template_usr_prefix: q\n"), "did you mean 'chat_template_user_prefix'?"));
}

TEST(TemplateChoice, JsonSchemaCompletesNamesAndAllowsPaths) {
  const auto schema = nlohmann::json::parse(config_json_schema());
  const auto& key = schema["properties"]["chat_template_path"];
  EXPECT_EQ(key["anyOf"][0]["enum"].size(), EnumNames<ChatTemplate>::names.size() + 1);
  EXPECT_EQ(key["default"], "auto");
}

}  // namespace
}  // namespace nibble::schema
