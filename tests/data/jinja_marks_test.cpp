// Where the parts of a rendering come from.
// Units: data/jinja/text
#include <gtest/gtest.h>

#include "data/jinja/program.h"
#include "tests/data/fixtures.h"

namespace nibble::data::jinja {
namespace {

using nlohmann::ordered_json;

// The marked parts of a rendering of {"c": content, "d": other}: "0:text" for text that comes from c, "1:text" from d.
std::vector<std::string> marked(const std::string& source, const std::string& content,
                                const std::string& other = "other") {
  const ordered_json variables = {{"c", content}, {"d", other}, {"m", {{{"content", content}}}}};
  const Output out = Program::parse(source, "template").render(variables, {"/c", "/d", "/m/0/content"});
  std::vector<std::string> parts;
  uint32_t end = 0;
  for (const Mark& mark : out.marks) {
    EXPECT_LE(mark.begin, mark.end);
    EXPECT_LE(mark.end, out.text.size());
    if (mark.origin != kGeneration) {
      EXPECT_GE(mark.begin, end) << "marks overlap";
      end = mark.end;
    }
    parts.push_back(std::to_string(mark.origin) + ":" + out.text.substr(mark.begin, mark.end - mark.begin));
  }
  return parts;
}

using Parts = std::vector<std::string>;

TEST(JinjaMarks, FollowAStringThroughTheOperationsThatCopyIt) {
  EXPECT_EQ(marked("a{{ c }}b", "hey"), Parts({"0:hey"}));
  EXPECT_EQ(marked("{{ 'x' + c + 'y' ~ d }}", "hey"), Parts({"0:hey", "1:other"}));
  EXPECT_EQ(marked("{{ m[0].content }}{{ m[0]['content'][1:] }}", "hey"), Parts({"2:heyey"}));
  EXPECT_EQ(marked("<{{ c.strip() }}|{{ c|trim }}|{{ c.lstrip('\\n') }}>", "\n hey \n"),
            Parts({"0:hey", "0:hey", "0: hey \n"}));
  EXPECT_EQ(marked("{{ ('p' ~ c)|trim }}|{{ ('  p' ~ c ~ ' ').strip() }}", "hey"), Parts({"0:hey", "0:hey"}));
  EXPECT_EQ(marked("{{ c.split('</think>')[-1].lstrip('\\n') }}", "<think>a</think>\n\nhey"), Parts({"0:hey"}));
  EXPECT_EQ(marked("{{ c.replace('-', '+') }}", "a-b"), Parts({"0:a", "0:b"}));
  EXPECT_EQ(marked("{{ ('x-y').replace('-', c) }}", "hey"), Parts({"0:hey"}));
  EXPECT_EQ(marked("{{ [c, d]|join(', ') }}{{ ' '.join([c]) }}", "hey"), Parts({"0:hey", "1:other", "0:hey"}));
  EXPECT_EQ(marked("{{ nope|default(c) }}|{{ c or 'x' }}|{{ c if true else d }}|{{ '' or d }}", "hey"),
            Parts({"0:hey", "0:hey", "0:hey", "1:other"}));
  EXPECT_EQ(marked("{{ c|upper }}|{{ c|title }}|{{ c|capitalize }}", "héy"), Parts({"0:HÉY", "0:Héy", "0:Héy"}));
  EXPECT_EQ(marked("{{ c|upper }}", "straße"), Parts({"0:STRASSE"}));
  EXPECT_EQ(marked("{{ ('ß' ~ c)|upper }}", "ŉ"), Parts());  // neither length is kept: no telling what is whose
  EXPECT_EQ(marked("{{ c[::-1] }}{{ c|first }}{{ c|list|join }}", "ab"), Parts({"0:baaab"}));
  EXPECT_EQ(marked("{{ c|indent }}", "a\nb"), Parts({"0:a", "0:b"}));
  EXPECT_EQ(marked("{{ '%s: %s' % (d, c) }}{{ '<{}>'.format(c) }}{{ c * 2 }}", "hey"),
            Parts({"1:other", "0:hey", "0:hey", "0:heyhey"}));
  EXPECT_EQ(marked("{{ c|e }}", "a<b"), Parts({"0:a", "0:b"}));
}

TEST(JinjaMarks, FollowThroughVariablesMacrosAndBlocks) {
  EXPECT_EQ(marked("{% set x = '<' ~ c ~ '>' %}{{ x }}", "hey"), Parts({"0:hey"}));
  EXPECT_EQ(marked("{% set x %}<{{ c }}>{% endset %}{{ x|trim }}", "hey"), Parts({"0:hey"}));
  EXPECT_EQ(marked("{% macro m(t) %}[{{ t }}]{% endmacro %}{{ m(c) }}{{ m(t=d) }}", "hey"),
            Parts({"0:hey", "1:other"}));
  EXPECT_EQ(
      marked("{% set ns = namespace(t='') %}{% for x in [c, d] %}{% set ns.t = ns.t ~ x ~ ';' %}{% endfor %}{{ ns.t }}",
             "hey"),
      Parts({"0:hey", "1:other"}));
  EXPECT_EQ(marked("{% filter trim %}  {{ c }}  {% endfilter %}", "hey"), Parts({"0:hey"}));
  EXPECT_EQ(marked("{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}{{ c }}{% endcall %}", "hey"),
            Parts({"0:hey"}));
  EXPECT_EQ(marked("{% for k, v in {'a': c}.items() %}{{ k }}{{ v }}{% endfor %}", "hey"), Parts({"0:hey"}));
  EXPECT_EQ(
      marked("{{ (m|map(attribute='content')|list)[0] }}{{ m|selectattr('content')|map(attribute='content')|join }}",
             "hey"),
      Parts({"2:heyhey"}));
}

TEST(JinjaMarks, EndWhereATextIsMadeAnew) {
  EXPECT_EQ(marked("{{ [c] }}{{ c|length }}{{ c == 'hey' }}", "hey"), Parts());
}

// A call's arguments come out of the row as its texts do.
TEST(JinjaMarks, FollowIntoJsonWhereNothingIsEscaped) {
  EXPECT_EQ(marked("{{ c|tojson }} {{ {'k': [c]}|tojson(indent=1) }}", "hey"), Parts({"0:hey", "0:hey"}));
  EXPECT_EQ(marked("{{ c|tojson }}", "a\nb"), Parts({"0:a", "0:b"}));
  EXPECT_EQ(marked("{{ c|tojson }}", ""), Parts({"0:"}));
}

TEST(JinjaMarks, AnEmptyStringLeavesItsPlace) {
  EXPECT_EQ(marked("a{{ c }}b", ""), Parts({"0:"}));
  EXPECT_EQ(marked("a{{ '<' + c + '>' }}b", ""), Parts({"0:"}));
  EXPECT_EQ(marked("a{{ c.strip() }}b", " \n"), Parts({"0:"}));
  EXPECT_EQ(marked("{{ ('  ' ~ c)|trim }}", ""), Parts({"0:"}));
  const Output out = Program::parse("ab{{ c }}{{ d }}", "template").render({{"c", ""}, {"d", "x"}}, {"/c", "/d"});
  EXPECT_EQ(out.marks, (std::vector<Mark>{{2, 2, 0}, {2, 3, 1}}));
}

TEST(JinjaMarks, GenerationBlocksAreMarkedAroundWhatStandsInThem) {
  const Output out =
      Program::parse("a{% generation %}b{{ c }}{{ c }}{% endgeneration %}{{ c }}{% generation %}{% endgeneration %}",
                     "template")
          .render({{"c", "hé"}}, {"/c"});
  EXPECT_EQ(out.text, "abhéhéhé");
  EXPECT_EQ(out.marks, (std::vector<Mark>{{1, 8, kGeneration}, {2, 8, 0}, {8, 11, 0}, {11, 11, kGeneration}}));
  EXPECT_TRUE(Program::parse("{%- generation -%}{% endgeneration %}", "template").has_generation_blocks());
  EXPECT_FALSE(Program::parse("{{ generation }}", "template").has_generation_blocks());
}

TEST(JinjaMarks, PointersToNothingMarkNothing) {
  const Program program = Program::parse("{{ c }}{{ n }}", "template");
  const ordered_json variables = {{"c", "x"}, {"n", 5}};
  EXPECT_TRUE(program.render(variables, {"/nope/3", "/n", "", "no pointer"}).marks.empty());
  EXPECT_EQ(program.render(variables, {"/nope", "/c"}).marks, (std::vector<Mark>{{0, 1, 1}}));
}

TEST(JinjaMarks, Qwen3MarksEachAnswersContent) {
  const ordered_json golden = ordered_json::parse(read_golden("chat/templates.json"))["templates"]["qwen3"];
  const Program program = Program::parse(golden["template"].get<std::string>(), "qwen3");
  int answers = 0;
  for (const auto& [name, rendering] : golden["renderings"].items()) {
    ordered_json variables = {{"messages", rendering["messages"]},
                              {"tools", nullptr},
                              {"add_generation_prompt", rendering["add_generation_prompt"]}};
    std::vector<std::string> origins;
    for (size_t i = 0; i < rendering["messages"].size(); ++i)
      origins.push_back("/messages/" + std::to_string(i) + "/content");
    const Output out = program.render(variables, origins);
    for (size_t i = 0; i < rendering["messages"].size(); ++i) {
      const ordered_json& message = rendering["messages"][i];
      if (message["role"] != "assistant") continue;
      const std::string content = message["content"];
      const auto mark = std::find_if(out.marks.begin(), out.marks.end(),
                                     [&](const Mark& m) { return m.origin == static_cast<int32_t>(i); });
      ASSERT_NE(mark, out.marks.end()) << name;
      // The template takes thoughts and line breaks in front off, nothing else.
      EXPECT_TRUE(content.ends_with(out.text.substr(mark->begin, mark->end - mark->begin)) ||
                  content.find("<think>") != std::string::npos)
          << name;
      ++answers;
    }
  }
  EXPECT_GT(answers, 20);
}

}  // namespace
}  // namespace nibble::data::jinja
