// What a template may use, and what it may say: hostile and unsupported ones end with an error that names the place.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "core/error.h"
#include "data/jinja/program.h"
#include "tests/data/fixtures.h"
#include "tests/data/jinja_fixtures.h"

namespace nibble::data::jinja {
namespace {

using nlohmann::ordered_json;

// Smaller limits than a rendering has by itself, so that reaching them takes no time here.
RenderOptions small_limits() {
  RenderOptions options;
  options.limits.steps = 2'000'000;
  options.limits.output_bytes = 4 << 20;
  options.limits.created_bytes = 32 << 20;
  return options;
}

std::string render(const std::string& source, const ordered_json& variables = ordered_json::object()) {
  return Program::parse(source, "t.jinja").render(variables, {}, small_limits()).text;
}

// The text `part`, many times.
std::string times(int count, const std::string& part) {
  std::string out;
  for (int i = 0; i < count; ++i) out += part;
  return out;
}

// What a template is refused with, "line:column: message", while parsing or rendering.
std::string refusal(const std::string& source, const ordered_json& variables = ordered_json::object()) {
  try {
    render(source, variables);
  } catch (const FormatError& error) {
    return error.what();
  } catch (const DataError& error) {
    return error.what();
  }
  return "nothing";
}

#define EXPECT_REFUSED(source, text) EXPECT_NE(refusal(source).find(text), std::string::npos) << refusal(source)

TEST(JinjaLimits, WorkWithoutAnEndIsStopped) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_REFUSED("{% for a in range(50000) %}{% for b in range(50000) %}{% endfor %}{% endfor %}", "t.jinja:1:");
  EXPECT_REFUSED("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "too deep");
  EXPECT_REFUSED("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", "too deep");
  EXPECT_REFUSED("{% set s = 'a' * 100000 %}{% for a in range(50000) %}{{ 'x' if s.rfind('aab') > 0 }}{% endfor %}", "too many steps");
  EXPECT_REFUSED("{% set s = 'a' * 100000 %}{% set t = 'a' * 50000 ~ 'b' %}{% for a in range(50000) %}{{ 'x' if t in s }}{% endfor %}",
                 "too many steps");
  EXPECT_REFUSED("{% set s = 'é' * 100000 %}{% for a in range(50000) %}{{ s[-1] ~ s|length ~ s[50000] }}{% endfor %}", "too many");
  EXPECT_REFUSED("{% set l = range(50000)|list %}{% for a in l %}{{ 'x' if l == l[:] }}{% endfor %}", "too many");
  EXPECT_REFUSED("{% set l = range(50000)|list %}{% for a in l %}{{ 'x' if -a in l }}{% endfor %}", "too many");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

TEST(JinjaLimits, MemoryIsBounded) {
  EXPECT_REFUSED("{% set n = namespace(s='aaaa') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "too large");
  EXPECT_REFUSED("{% set n = namespace(l=[0, 0]) %}{% for i in range(99) %}{% set n.l = n.l + n.l %}{% endfor %}", "too");
  EXPECT_REFUSED("{% set s = 'a' * 1000000 %}{% for i in range(99) %}{{ s }}{% endfor %}", "too large");
  EXPECT_REFUSED("{% set s = 'a' * 1000000 %}{% set n = namespace(l=[]) %}{% for i in range(999) %}{% set n.l = n.l + [s ~ i] %}{% endfor %}",
                 "too many large");
  for (const char* large : {"'a' * 10000000000000", "[0] * 1000000000000", "'a'.center(1000000000000)", "'a'.ljust(10000000000, 'b')",
                            "'1'.zfill(1000000000000)", "'a\nb'|indent(1000000000000)", "[1]|tojson(indent=1000000000000)",
                            "'%1000000000000s' % 'a'", "'%100000000d' % 1", "'%.999999999f' % 1", "('a' * 1000).replace('', 'b' * 1000000)",
                            "('a' * 1000000)|list|tojson(indent=50000)", "strftime_now('%c' * 10000000)"}) {
    EXPECT_NE(refusal(std::string("{{ ") + large + " }}"), "nothing") << large;
  }
}

TEST(JinjaLimits, DepthIsBoundedBeforeTheStackIs) {
  constexpr int kMany = 20'000;
  for (const std::string& deep :
       {"{{ " + times(kMany, "(") + "1" + times(kMany, ")") + " }}", "{{ " + times(kMany, "[") + times(kMany, "]") + " }}",
        "{{ " + times(kMany, "{1:") + "1" + times(kMany, "}") + " }}", "{{ " + times(kMany, "not ") + "1 }}", "{{ " + times(kMany, "- ") + "1 }}",
        "{{ 1" + times(kMany, " + 1") + " }}", "{{ 1" + times(kMany, " and 1") + " }}", "{{ 1" + times(kMany, " or 1") + " }}",
        "{{ 2" + times(kMany, " ** 1") + " }}", "{{ a" + times(kMany, ".b") + " }}", "{{ a" + times(kMany, "[0]") + " }}",
        "{{ a" + times(kMany, "()") + " }}", "{{ 'a'" + times(kMany, "|trim") + " }}", "{{ 1" + times(kMany, " if 1") + " }}",
        "{{ 1" + times(kMany, " if 1 else 1") + " }}", times(kMany, "{% if 1 %}") + times(kMany, "{% endif %}"),
        times(kMany, "{% for a in [1] %}") + times(kMany, "{% endfor %}"), times(kMany, "{% filter trim %}"), times(kMany, "{% macro m() %}"),
        "{% set " + times(kMany, "(") + "a" + times(kMany, ")") + " = 1 %}", "{{ 1" + times(kMany, " is in (1") + times(kMany, ")") + " }}",
        "{{ " + times(kMany, "f(") + times(kMany, ")") + " }}", "{{ " + times(kMany, "a[") + "0" + times(kMany, "]") + " }}"}) {
    const std::string what = refusal(deep);
    EXPECT_TRUE(what.find("deep") != std::string::npos || what.find("inside each other") != std::string::npos)
        << deep.substr(0, 40) << ": " << what.substr(0, 200);
  }
  // Long is not deep.
  EXPECT_EQ(render("{{ 1" + times(kMany, " ~ ''") + " }}"), "1");
  EXPECT_EQ(render("{% if 0 %}" + times(kMany, "{% elif 0 %}") + "{% else %}x{% endif %}"), "x");
  EXPECT_EQ(render("{{ [" + times(kMany, "1,") + "]|length }}"), std::to_string(kMany));
  EXPECT_EQ(render("{{ 1" + times(kMany, " < 2 > 1") + " }}"), "True");
}

TEST(JinjaLimits, ValuesInsideEachOtherAreBounded) {
  EXPECT_REFUSED("{% set n = namespace(l=[]) %}{% for i in range(50000) %}{% set n.l = [n.l] %}{% endfor %}", "too deep");
  EXPECT_REFUSED("{% set n = namespace(l={}) %}{% for i in range(50000) %}{% set n.l = {'a': n.l} %}{% endfor %}", "too deep");
  ordered_json deep = 1;
  for (int i = 0; i < 200; ++i) deep = ordered_json::array({deep});
  EXPECT_NE(refusal("{{ v }}", {{"v", deep}}).find("too deep"), std::string::npos);
  EXPECT_EQ(render("a", {{"v", deep}}), "a");  // what the template does not name is not read
  // Values that hold each other in circles end with the rendering (the fuzz target's leak check looks here too).
  EXPECT_EQ(render("{% set n = namespace() %}{% set n.n = n %}{% set n.l = [n, {'n': n}] %}{% macro m() %}{{ n }}{% endmacro %}{% set n.m = m %}"
                   "{% for i in [1, 2] %}{% set n.loop = loop %}{{ loop.changed(loop) }}{% macro q() %}{{ loop }}{% endmacro %}{% set n.q = q %}"
                   "{% endfor %}{{ n.loop.index }}{{ n.loop.last }}{{ n.loop.length }}"),
            "TrueFalse2True2");
}

TEST(JinjaLimits, ALoopsTestCannotAskForTheLoopItIsIn) {
  const std::string begin = "{% set n = namespace() %}{% for x in [1, 2, 3] if n.l.", end = " %}{% set n.l = loop %}{{ x }}{% endfor %}";
  EXPECT_REFUSED(begin + "x" + end, "'l'");
  const std::string first = "{% set n = namespace(l={'length': 1, 'last': 1, 'index': 1}) %}{% for x in [1, 2, 3] if n.l.";
  EXPECT_REFUSED(first + "length" + end, "the test of a loop");
  EXPECT_REFUSED(first + "last" + end, "the test of a loop");
  EXPECT_EQ(render(first + "index" + end), "123");
}

TEST(JinjaRefusals, NameWhatIsNotSupportedWithLineAndColumn) {
  EXPECT_REFUSED("a\n  {% include 'x' %}", "t.jinja:2:6: {% include %} is not supported");
  EXPECT_REFUSED("{% extends 'x' %}", "t.jinja:1:4: {% extends %} is not supported");
  EXPECT_REFUSED("{% import 'x' as y %}", "{% import %} is not supported");
  EXPECT_REFUSED("{% from 'x' import y %}", "{% from %} is not supported");
  EXPECT_REFUSED("{% block b %}{% endblock %}", "{% block %} is not supported");
  EXPECT_REFUSED("{% for x in y recursive %}{% endfor %}", "1:15: {% for ... recursive %} is not supported");
  EXPECT_REFUSED("{% nope %}", "{% nope %} is no tag of Jinja");
  EXPECT_REFUSED("{{ 'é' }}\n{{ x|groupby('a') }}", "t.jinja:2:6: the filter 'groupby' is not supported");
  EXPECT_REFUSED("{{ 'é' ~ x|nope }}", "t.jinja:1:12: there is no filter named 'nope'");
  EXPECT_REFUSED("{{ x is nope }}", "there is no test named 'nope'");
  EXPECT_REFUSED("{{ joiner(',') }}", "joiner() is not supported");
  EXPECT_REFUSED("{{ 'a'.encode() }}", "the method encode() of 'str' is not supported");
  EXPECT_REFUSED("{{ '{:>3}'.format(1) }}", "the field '{:>3}' is not supported");
  EXPECT_REFUSED("{{ '%x' % 1 }}", "the conversion %x is not supported");
  EXPECT_REFUSED("{{ 9223372036854775807 + 1 }}", "more than 64 bits");
  EXPECT_REFUSED("{{ 99999999999999999999 }}", "at most 64 bits");
  EXPECT_REFUSED("{{ [1]|map('upper') }}", "add |list");
  EXPECT_REFUSED("{{ caf\xC3\xA9 }}", "1:7: the character '\xC3\xA9'");
  EXPECT_REFUSED("a\nb{{ 'x", "t.jinja:2:5: the string that begins with ' is not closed");
  EXPECT_REFUSED("\n{# x", "t.jinja:2:1: the comment {# is not closed");
  EXPECT_REFUSED("{% if a %}\n{% for x in y %}", "t.jinja:2:4: {% for %} is not closed with {% endfor %}");
  EXPECT_REFUSED("\xFF", "not valid UTF-8");
}

TEST(JinjaRefusals, SayWhereRenderingStoppedAndWhy) {
  EXPECT_EQ(refusal("ok\n{{ raise_exception('Roles must alternate') }}"), "t.jinja:2:19: Roles must alternate");
  EXPECT_EQ(refusal("{% set x = none %}\n{{ 'a' + x }}"),
            "t.jinja:2:8: the operator + does not go with values of the types 'str' and 'NoneType'");
  EXPECT_EQ(refusal("{{ m.x.y }}", {{"m", ordered_json::object()}}), "t.jinja:1:7: a value of type 'dict' has no attribute or element 'x'");
  EXPECT_EQ(refusal("{{ m['x'].y }}", {{"m", ordered_json::object()}}), "t.jinja:1:10: a value of type 'dict' has no attribute or element 'x'");
  EXPECT_EQ(refusal("{{ nope() }}"), "t.jinja:1:8: 'nope' is undefined");
  EXPECT_REFUSED("{% set l = [] %}{{ l.append(1) }}", "'append' of a value of type 'list' is not available to templates");
  EXPECT_THROW(Program::parse("a", "t").render(ordered_json::array()), DataError);
  EXPECT_NE(refusal("{{ v }}", {{"v", 18446744073709551615ull}}).find("more than 64 bits"), std::string::npos);
}

TEST(JinjaClock, IsTheOneThatIsGiven) {
  const Program program = Program::parse("{{ strftime_now('%d %b %Y') }}", "t.jinja");
  EXPECT_TRUE(program.reads_clock());
  EXPECT_FALSE(Program::parse("{{ 'strftime_now' }}", "t.jinja").reads_clock());
  RenderOptions options;
  options.now = golden_time({2024, 2, 29, 23, 59, 58});
  EXPECT_EQ(program.render(ordered_json::object(), {}, options).text, "29 Feb 2024");
}

TEST(JinjaProgram, RendersInManyThreadsAtOnce) {
  const ordered_json golden = ordered_json::parse(read_golden("chat/templates.json"))["templates"]["qwen3"];
  const Program program = Program::parse(golden["template"].get<std::string>(), "qwen3");
  const ordered_json& rendering = golden["renderings"]["multi_turn"];
  const ordered_json variables = {{"messages", rendering["messages"]}, {"tools", nullptr}, {"add_generation_prompt", false}};
  std::vector<int> right(4);
  std::vector<std::thread> threads;
  for (int& count : right) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) count += program.render(variables).text == rendering["rendered"].get<std::string>();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(4, 200));
}

}  // namespace
}  // namespace nibble::data::jinja
