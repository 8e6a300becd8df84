// Filters that make texts of texts.
#include <fmt/core.h>

#include <algorithm>

#include "core/utf8.h"
#include "data/jinja/characters.h"
#include "data/jinja/filters.h"
#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/python_text.h"
#include "data/jinja/replace.h"
#include "data/jinja/search.h"

namespace nibble::data::jinja {
namespace {

Value recased(Environment& environment, const Value& operand, std::string (*change)(std::string_view)) {
  const Text text = to_text(operand, environment.meter);
  environment.meter.scan(16 * text.bytes().size());
  return Value(reshaped_text(change(text.bytes()), text, environment.meter));
}

Value filter_upper(Environment& e, const Value& operand, const Arguments& a) {
  return bind_none("upper", a), recased(e, operand, to_upper);
}
Value filter_lower(Environment& e, const Value& operand, const Arguments& a) {
  return bind_none("lower", a), recased(e, operand, to_lower);
}
Value filter_capitalize(Environment& e, const Value& operand, const Arguments& a) {
  return bind_none("capitalize", a), recased(e, operand, capitalized);
}

// Words begin behind white space, hyphens and opening brackets; not behind apostrophes, as str.title has it.
std::string words_capitalized(std::string_view text) {
  std::string out;
  size_t begin = 0;
  const auto flush = [&](size_t end) {
    const std::string_view word = text.substr(begin, end - begin);
    if (word.empty()) return;
    const size_t first = offset_of(word, 1);
    out += to_upper(word.substr(0, first)) + to_lower(word.substr(first));
    begin = end;
  };
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const auto length = static_cast<size_t>(c.length);
    if (is_space(c.value) ||
        (c.value < 0x80 && std::string_view("-({[<").find(static_cast<char>(c.value)) != std::string_view::npos)) {
      flush(at);
      out += text.substr(at, length);
      begin = at + length;
    }
    at += length;
  }
  flush(text.size());
  return out;
}

Value filter_title(Environment& e, const Value& operand, const Arguments& a) {
  return bind_none("title", a), recased(e, operand, words_capitalized);
}

Value filter_trim(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [chars] = bind<1>("trim", arguments, {"chars"}, 0);
  const Text text = to_text(operand, environment.meter);
  environment.meter.scan(text.bytes().size());
  const auto characters = optional_text_argument("trim", chars);
  return Value(
      text.part(characters ? strip(text.bytes(), true, true, characters->bytes()) : strip(text.bytes(), true, true)));
}

Value filter_replace(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [old_part, new_part, count] = bind<3>("replace", arguments, {"old", "new", "count"}, 2);
  Meter& meter = environment.meter;
  const int64_t most = count && !count->is_none() ? integer_argument("replace", count, -1) : -1;
  return Value(
      replace_text(to_text(operand, meter), to_text(*old_part, meter), to_text(*new_part, meter), most, meter));
}

Value filter_indent(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [width, first, blank] = bind<3>("indent", arguments, {"width", "first", "blank"}, 0);
  Meter& meter = environment.meter;
  const Text& text = text_argument("indent", &operand);
  Text indention;
  if (width && width->text()) {
    indention = *width->text();
  } else {
    const int64_t count = std::min(integer_argument("indent", width, 4), meter.limits().output_bytes + 1);
    TextBuilder spaces(meter);
    indention = spaces.append(static_cast<size_t>(std::max<int64_t>(0, count)), ' ').take();
  }
  TextBuilder out(meter);
  const Value lines = call_method(environment, *find_string_method("splitlines"), Value(text), {});
  std::vector<Value> parts = lines.sequence()->items;
  // The filter thinks of the text as ending with a line break, so that one at its end makes an empty last line.
  if (text.empty() || is_line_break(decode_utf8(text.bytes(), offset_of(text.bytes(), -1)).value))
    parts.push_back(Value(Text()));
  for (size_t i = 0; i < parts.size(); ++i) {
    meter.step();
    const Text& line = *parts[i].text();
    if (i > 0) out.append("\n");
    if (i == 0 ? flag_argument(first, false) : flag_argument(blank, false) || !line.empty()) out.append(indention);
    if (!line.empty() || parts.size() == 1) out.append(line);
  }
  return Value(out.take());
}

Value filter_escape(Environment& environment, const Value& operand, const Arguments& arguments) {
  bind_none("escape", arguments);
  const Text text = to_text(operand, environment.meter);
  const std::string_view bytes = text.bytes();
  TextBuilder out(environment.meter);
  for (size_t at = 0; at < bytes.size();) {
    const size_t found = std::min(bytes.find_first_of("&<>'\"", at), bytes.size());
    if (found > at) out.append(text.part(at, found));
    at = found + 1;
    if (found == bytes.size()) break;
    environment.meter.step();
    switch (bytes[found]) {
      case '&': out.append("&amp;"); break;
      case '<': out.append("&lt;"); break;
      case '>': out.append("&gt;"); break;
      case '\'': out.append("&#39;"); break;
      default: out.append("&#34;"); break;
    }
  }
  return Value(out.take());
}

// Nothing escapes by itself in chat templates, so that safe and string are the same.
Value filter_string(Environment& environment, const Value& operand, const Arguments& arguments) {
  bind_none("string", arguments);
  return Value(to_text(operand, environment.meter));
}

Value filter_center(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [width] = bind<1>("center", arguments, {"width"}, 0);
  Arguments of_method;
  of_method.positional.push_back(width ? *width : Value(int64_t{80}));
  return call_method(environment, *find_string_method("center"), Value(to_text(operand, environment.meter)), of_method);
}

Value filter_truncate(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [length, killwords, end, leeway] =
      bind<4>("truncate", arguments, {"length", "killwords", "end", "leeway"}, 0);
  const Text ending = end ? text_argument("truncate", end) : Text("...");
  const int64_t most = integer_argument("truncate", length, 255);
  const int64_t tolerated = leeway && !leeway->is_none() ? integer_argument("truncate", leeway, 5) : 5;
  if (most < length_of(ending.bytes()) || tolerated < 0)
    throw Failure("truncate: the length has no room for the ending, or the leeway is negative");
  // What is short enough comes back as it is, whatever its type.
  const int64_t size = *as_integer(find_filter("length")->call(environment, operand, {}));
  if (size <= tolerated || size - tolerated <= most) return operand;
  const Text& text = text_argument("truncate", &operand);
  Text kept = text.part(0, offset_of(text.bytes(), most - length_of(ending.bytes())));
  if (!flag_argument(killwords, false)) {
    const size_t space = kept.bytes().rfind(' ');
    if (space != std::string_view::npos) kept = kept.part(0, space);
  }
  TextBuilder out(environment.meter);
  return Value(out.append(kept).append(ending).take());
}

Value filter_format(Environment& environment, const Value& operand, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.keywords.empty())
    throw Failure("format takes values by position or by name, not both");
  Value values = make_sequence(SequenceKind::kTuple, arguments.positional, environment.meter);
  if (!arguments.keywords.empty()) {
    Dict dict;
    for (const auto& [name, value] : arguments.keywords) dict.set(Value(Text(name)), value, environment.meter);
    values = make_dict(std::move(dict), environment.meter);
  }
  return format_percent(to_text(operand, environment.meter), values, environment);
}

const Filter kFilters[] = {
    {"trim", filter_trim},     {"replace", filter_replace},   {"upper", filter_upper},
    {"lower", filter_lower},   {"title", filter_title},       {"capitalize", filter_capitalize},
    {"indent", filter_indent}, {"string", filter_string},     {"safe", filter_string},
    {"e", filter_escape},      {"escape", filter_escape},     {"forceescape", filter_escape},
    {"center", filter_center}, {"truncate", filter_truncate}, {"format", filter_format},
};

}  // namespace

FilterTable text_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace nibble::data::jinja
