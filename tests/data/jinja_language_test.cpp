// The language against jinja2 itself, and templates built as those of published models are
// (scripts/golden/make_jinja.py).
// Units: data/jinja/arguments, data/jinja/call, data/jinja/case_table, data/jinja/characters, data/jinja/compare,
// data/jinja/evaluate, data/jinja/execute, data/jinja/filters, data/jinja/filters_selection,
// data/jinja/filters_sequence, data/jinja/filters_text, data/jinja/filters_value, data/jinja/format_percent,
// data/jinja/from_json, data/jinja/functions, data/jinja/json_text, data/jinja/lexer, data/jinja/loop_state,
// data/jinja/methods, data/jinja/numbers, data/jinja/operators, data/jinja/parser, data/jinja/parser_expression,
// data/jinja/parser_postfix, data/jinja/parser_tags, data/jinja/predicates, data/jinja/python_text, data/jinja/search,
// data/jinja/source, data/jinja/string_classes, data/jinja/string_literal, data/jinja/string_searching,
// data/jinja/string_splitting, data/jinja/string_writing, data/jinja/subscript, data/jinja/value
#include <gtest/gtest.h>

#include "core/error.h"
#include "data/jinja/program.h"
#include "tests/data/fixtures.h"
#include "tests/data/jinja_fixtures.h"

namespace nibble::data::jinja {
namespace {

using nlohmann::ordered_json;

// What a template gives: its text and generation spans, or "error".
ordered_json outcome(const std::string& source, const ordered_json& variables, const RenderOptions& options) {
  try {
    const Output out = Program::parse(source, "template").render(variables, {}, options);
    ordered_json spans = ordered_json::array();
    for (const Mark& mark : out.marks) {
      if (mark.origin == kGeneration) spans.push_back({mark.begin, mark.end});
    }
    ordered_json result = {{"output", out.text}};
    if (!spans.empty()) result["generation"] = spans;
    return result;
  } catch (const FormatError& error) {
    EXPECT_GT(error.place().line, 0) << source;
    EXPECT_GT(error.place().column, 0) << source;
  } catch (const DataError& error) {
    EXPECT_GT(error.place().line, 0) << source;
    EXPECT_GT(error.place().column, 0) << source;
  }
  return "error";
}

ordered_json expected_outcome(const ordered_json& golden) {
  if (golden.contains("error")) return "error";
  ordered_json out = {{"output", golden["output"]}};
  if (golden.contains("generation")) out["generation"] = golden["generation"];
  return out;
}

TEST(JinjaLanguage, GivesWhatJinja2Gives) {
  const ordered_json golden = ordered_json::parse(read_golden("chat/jinja_language.json"));
  const RenderOptions options{golden_time(golden["now"])};
  int refused = 0;
  for (const ordered_json& one : golden["cases"]) {
    const std::string source = one["template"];
    EXPECT_EQ(outcome(source, one["variables"], options), expected_outcome(one))
        << one["group"] << ": " << source << "\n  jinja2: " << one.value("error", "");
    refused += one.contains("error");
  }
  EXPECT_EQ(golden["cases"].size(), 516u);
  EXPECT_EQ(refused, 189);
}

TEST(JinjaLanguage, FormsOfPublishedTemplatesRenderAlike) {
  const ordered_json golden = ordered_json::parse(read_golden("chat/jinja_published.json"));
  const RenderOptions options{golden_time(golden["now"])};
  for (const auto& [name, chat] : golden["templates"].items()) {
    for (const auto& [conversation, expected] : chat["renderings"].items()) {
      ordered_json variables = {{"tools", nullptr}, {"documents", nullptr}, {"add_generation_prompt", false}};
      variables.update(golden["special_tokens"]);
      variables.update(golden["conversations"][conversation]);
      EXPECT_EQ(outcome(chat["template"], variables, options), expected_outcome(expected))
          << name << ": " << conversation << "\n  jinja2: " << expected.value("error", "");
    }
  }
  EXPECT_EQ(golden["templates"].size(), 13u);
}

}  // namespace
}  // namespace nibble::data::jinja
