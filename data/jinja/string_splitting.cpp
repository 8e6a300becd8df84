// Methods of strings that take them apart: strip, split, partition and their kin. Parts keep their marks.
#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "core/utf8.h"
#include "data/jinja/methods.h"
#include "data/jinja/search.h"

namespace nibble::data::jinja {
namespace {

constexpr auto kNone = std::string_view::npos;

Value stripped(std::string_view name, Environment& environment, const Value& self, const Arguments& arguments, bool left, bool right) {
  const auto [given] = bind<1>(name, arguments, {"chars"}, 0);
  const Text& text = *self.text();
  environment.meter.scan(text.bytes().size());
  const auto characters = optional_text_argument(name, given);
  return Value(text.part(characters ? strip(text.bytes(), left, right, characters->bytes()) : strip(text.bytes(), left, right)));
}

Value string_strip(Environment& e, const Value& self, const Arguments& a) { return stripped("strip()", e, self, a, true, true); }
Value string_lstrip(Environment& e, const Value& self, const Arguments& a) { return stripped("lstrip()", e, self, a, true, false); }
Value string_rstrip(Environment& e, const Value& self, const Arguments& a) { return stripped("rstrip()", e, self, a, false, true); }

// Where white space that begins at or behind `from` begins and ends; begin kNone: there is none.
std::pair<size_t, size_t> next_space(std::string_view text, size_t from) {
  size_t begin = kNone, at = from;
  for (; at < text.size(); at += static_cast<size_t>(decode_utf8(text, at).length)) {
    const bool space = is_space(decode_utf8(text, at).value);
    if (space && begin == kNone) begin = at;
    if (!space && begin != kNone) break;
  }
  return {begin, at};
}

// Without a separator: runs of white space separate, those at the ends do not count.
void split_at_space(const Text& text, int64_t most, std::vector<Value>& out) {
  const std::string_view bytes = text.bytes();
  size_t at = bytes.size() - strip(bytes, true, false).size();
  while (at < bytes.size()) {
    const auto [begin, end] = next_space(bytes, at);
    if (begin == kNone || most-- == 0) {
      // What is left: with white space at its end only where the count ended the splitting.
      out.push_back(Value(text.part(at, bytes.size())));
      return;
    }
    out.push_back(Value(text.part(at, begin)));
    at = end;
  }
}

void split_at_space_from_right(const Text& text, int64_t most, std::vector<Value>& out) {
  std::string_view rest = strip(text.bytes(), false, true);
  while (!rest.empty()) {
    size_t begin = rest.size();  // of the last word
    while (begin > 0) {
      size_t before = begin - 1;
      while (before > 0 && (static_cast<unsigned char>(rest[before]) & 0xC0) == 0x80) --before;
      if (is_space(decode_utf8(rest, before).value)) break;
      begin = before;
    }
    if (most-- == 0) begin = 0;
    out.push_back(Value(text.part(rest.substr(begin))));
    rest = strip(rest.substr(0, begin), false, true);
  }
  std::reverse(out.begin(), out.end());
}

Value split(std::string_view name, Environment& environment, const Value& self, const Arguments& arguments, bool from_right) {
  const auto [sep, maxsplit] = bind<2>(name, arguments, {"sep", "maxsplit"}, 0);
  const auto separator = optional_text_argument(name, sep);
  int64_t most = integer_argument(name, maxsplit, -1);
  if (most < 0) most = std::numeric_limits<int64_t>::max();
  const Text& text = *self.text();
  const std::string_view bytes = text.bytes();
  Meter& meter = environment.meter;
  meter.create(bytes.size());  // of the list at least; make_list counts its elements
  std::vector<Value> out;
  if (!separator) {
    if (from_right) split_at_space_from_right(text, most, out);
    else split_at_space(text, most, out);
    return make_list(std::move(out), meter);
  }
  const std::string_view by = separator->bytes();
  if (by.empty()) throw Failure(fmt::format("{}: the separator is empty", name));
  size_t begin = 0, end = bytes.size();
  while (most-- > 0) {
    const size_t at = from_right ? find_last_text(bytes, by, end, meter) : find_text(bytes, by, begin, meter);
    if (at == kNone) break;
    out.push_back(Value(from_right ? text.part(at + by.size(), end) : text.part(begin, at)));
    if (from_right) end = at;
    else begin = at + by.size();
  }
  out.push_back(Value(text.part(begin, end)));
  if (from_right) std::reverse(out.begin(), out.end());
  return make_list(std::move(out), meter);
}

Value string_split(Environment& e, const Value& self, const Arguments& a) { return split("split()", e, self, a, false); }
Value string_rsplit(Environment& e, const Value& self, const Arguments& a) { return split("rsplit()", e, self, a, true); }

Value string_splitlines(Environment& environment, const Value& self, const Arguments& arguments) {
  const auto [keepends] = bind<1>("splitlines()", arguments, {"keepends"}, 0);
  const bool keep = flag_argument(keepends, false);
  const Text& text = *self.text();
  const std::string_view bytes = text.bytes();
  environment.meter.create(bytes.size());
  std::vector<Value> lines;
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const CodePoint c = decode_utf8(bytes, at);
    const size_t line_end = at;
    at += static_cast<size_t>(c.length);
    if (!is_line_break(c.value)) continue;
    if (c.value == '\r' && at < bytes.size() && bytes[at] == '\n') ++at;
    lines.push_back(Value(text.part(begin, keep ? at : line_end)));
    begin = at;
  }
  if (begin < bytes.size()) lines.push_back(Value(text.part(begin, bytes.size())));
  return make_list(std::move(lines), environment.meter);
}

Value partitioned(std::string_view name, Environment& environment, const Value& self, const Arguments& arguments, bool last) {
  const auto [sep] = bind<1>(name, arguments, {"sep"}, 1);
  const Text& separator = text_argument(name, sep);
  const Text& text = *self.text();
  const size_t size = text.bytes().size(), length = separator.bytes().size();
  if (length == 0) throw Failure(fmt::format("{}: the separator is empty", name));
  Meter& meter = environment.meter;
  const size_t at = last ? find_last_text(text.bytes(), separator.bytes(), size, meter) : find_text(text.bytes(), separator.bytes(), 0, meter);
  if (at == kNone) {
    const Value nothing{Text()};
    return last ? make_sequence(SequenceKind::kTuple, {nothing, nothing, self}, meter)
                : make_sequence(SequenceKind::kTuple, {self, nothing, nothing}, meter);
  }
  return make_sequence(SequenceKind::kTuple, {Value(text.part(0, at)), Value(text.part(at, at + length)), Value(text.part(at + length, size))}, meter);
}

Value string_partition(Environment& e, const Value& self, const Arguments& a) { return partitioned("partition()", e, self, a, false); }
Value string_rpartition(Environment& e, const Value& self, const Arguments& a) { return partitioned("rpartition()", e, self, a, true); }

Value string_removeprefix(Environment&, const Value& self, const Arguments& arguments) {
  const auto [prefix] = bind<1>("removeprefix()", arguments, {"prefix"}, 1);
  const std::string_view part = text_argument("removeprefix()", prefix).bytes(), bytes = self.text()->bytes();
  return bytes.starts_with(part) ? Value(self.text()->part(part.size(), bytes.size())) : self;
}

Value string_removesuffix(Environment&, const Value& self, const Arguments& arguments) {
  const auto [suffix] = bind<1>("removesuffix()", arguments, {"suffix"}, 1);
  const std::string_view part = text_argument("removesuffix()", suffix).bytes(), bytes = self.text()->bytes();
  return bytes.ends_with(part) ? Value(self.text()->part(0, bytes.size() - part.size())) : self;
}

constexpr auto kCallable = Method::Kind::kCallable;

const Method kMethods[] = {
    {"lstrip", kCallable, string_lstrip}, {"partition", kCallable, string_partition},
    {"removeprefix", kCallable, string_removeprefix}, {"removesuffix", kCallable, string_removesuffix},
    {"rpartition", kCallable, string_rpartition}, {"rsplit", kCallable, string_rsplit}, {"rstrip", kCallable, string_rstrip},
    {"split", kCallable, string_split}, {"splitlines", kCallable, string_splitlines}, {"strip", kCallable, string_strip},
};

}  // namespace

MethodTable string_splitting_methods() { return {std::begin(kMethods), std::end(kMethods)}; }

}  // namespace nibble::data::jinja
