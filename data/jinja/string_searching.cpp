// Methods of strings that look for others: find, count, startswith, replace and their kin. Positions are characters.
#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "data/jinja/methods.h"
#include "data/jinja/replace.h"
#include "data/jinja/search.h"

namespace nibble::data::jinja {
namespace {

constexpr auto kNone = std::string_view::npos;

// The bytes [begin, end) that the arguments start and end leave of a text; begin > end: nothing is in there, not even "".
struct Window {
  size_t begin = 0;
  size_t end = 0;
};

Window window(std::string_view name, std::string_view text, const Value* start, const Value* end, Meter& meter) {
  Window out{0, text.size()};
  if (start && !start->is_none()) {
    const int64_t first = integer_argument(name, start, 0);
    meter.scan(2 * text.size());
    out.begin = first > length_of(text) ? text.size() + 1 : offset_of(text, first);
  }
  if (end && !end->is_none()) {
    meter.scan(text.size());
    out.end = offset_of(text, integer_argument(name, end, 0));
  }
  return out;
}

Value position(std::string_view name, Environment& environment, const Value& self, const Arguments& arguments, bool last, bool required) {
  const auto [sub, start, end] = bind<3>(name, arguments, {"sub", "start", "end"}, 1);
  const std::string_view part = text_argument(name, sub).bytes(), text = self.text()->bytes();
  const Window in = window(name, text, start, end, environment.meter);
  size_t at = kNone;
  if (in.begin <= in.end) {
    const std::string_view searched = text.substr(0, in.end);
    at = last ? find_last_text(searched, part, in.end, environment.meter) : find_text(searched, part, in.begin, environment.meter);
    if (last && at != kNone && at < in.begin) at = kNone;
  }
  if (at == kNone && required) throw Failure(fmt::format("{}: the text is not in the string", name));
  environment.meter.scan(text.size());
  return Value(at == kNone ? int64_t{-1} : length_of(text.substr(0, at)));
}

Value string_find(Environment& e, const Value& self, const Arguments& a) { return position("find()", e, self, a, false, false); }
Value string_rfind(Environment& e, const Value& self, const Arguments& a) { return position("rfind()", e, self, a, true, false); }
Value string_index(Environment& e, const Value& self, const Arguments& a) { return position("index()", e, self, a, false, true); }
Value string_rindex(Environment& e, const Value& self, const Arguments& a) { return position("rindex()", e, self, a, true, true); }

Value string_count(Environment& environment, const Value& self, const Arguments& arguments) {
  const auto [sub, start, end] = bind<3>("count()", arguments, {"sub", "start", "end"}, 1);
  const std::string_view part = text_argument("count()", sub).bytes(), text = self.text()->bytes();
  const Window in = window("count()", text, start, end, environment.meter);
  if (in.begin > in.end) return Value(int64_t{0});
  const std::string_view searched = text.substr(0, in.end);
  if (part.empty()) return Value(length_of(searched.substr(in.begin)) + 1);
  int64_t count = 0;
  for (size_t at = in.begin; (at = find_text(searched, part, at, environment.meter)) != kNone; at += part.size()) ++count;
  return Value(count);
}

// startswith and endswith: of one text, or of any of a tuple's.
Value begins_or_ends(std::string_view name, Environment& environment, const Value& self, const Arguments& arguments, bool at_end) {
  const auto [given, start, end] = bind<3>(name, arguments, {"prefix", "start", "end"}, 1);
  const std::string_view text = self.text()->bytes();
  const Window in = window(name, text, start, end, environment.meter);
  const auto fits = [&](const Value& value) {
    const std::string_view part = text_argument(name, &value).bytes();
    if (in.begin > in.end) return false;
    const std::string_view searched = text.substr(in.begin, in.end - in.begin);
    return at_end ? searched.ends_with(part) : searched.starts_with(part);
  };
  const Sequence* several = given->sequence();
  if (!several || several->kind != SequenceKind::kTuple) return Value(fits(*given));
  environment.meter.step(static_cast<int64_t>(several->items.size()));
  return Value(std::any_of(several->items.begin(), several->items.end(), fits));
}

Value string_startswith(Environment& e, const Value& self, const Arguments& a) { return begins_or_ends("startswith()", e, self, a, false); }
Value string_endswith(Environment& e, const Value& self, const Arguments& a) { return begins_or_ends("endswith()", e, self, a, true); }

Value string_replace(Environment& environment, const Value& self, const Arguments& arguments) {
  const auto [old_part, new_part, count] = bind<3>("replace()", arguments, {"old", "new", "count"}, 2);
  return Value(replace_text(*self.text(), text_argument("replace()", old_part), text_argument("replace()", new_part),
                            integer_argument("replace()", count, -1), environment.meter));
}

constexpr auto kCallable = Method::Kind::kCallable;

const Method kMethods[] = {
    {"count", kCallable, string_count}, {"endswith", kCallable, string_endswith}, {"find", kCallable, string_find},
    {"index", kCallable, string_index}, {"replace", kCallable, string_replace}, {"rfind", kCallable, string_rfind},
    {"rindex", kCallable, string_rindex}, {"startswith", kCallable, string_startswith},
};

}  // namespace

Text replace_text(const Text& text, const Text& old_part, const Text& new_part, int64_t count, Meter& meter) {
  const std::string_view bytes = text.bytes(), part = old_part.bytes();
  if (count < 0) count = std::numeric_limits<int64_t>::max();
  TextBuilder out(meter);
  size_t at = 0;
  if (part.empty()) {  // between all characters and at both ends
    for (; count-- > 0; at += offset_of(bytes.substr(at), 1)) {
      meter.step();
      out.append(new_part);
      if (at == bytes.size()) break;
      out.append(text.part(at, at + offset_of(bytes.substr(at), 1)));
    }
    if (at < bytes.size()) out.append(text.part(at, bytes.size()));
    return out.take();
  }
  for (; count-- > 0;) {
    const size_t found = find_text(bytes, part, at, meter);
    if (found == kNone) break;
    meter.step();
    if (found > at) out.append(text.part(at, found));
    out.append(new_part);
    at = found + part.size();
  }
  if (at == 0) return text;
  if (at < bytes.size()) out.append(text.part(at, bytes.size()));
  return out.take();
}

MethodTable string_searching_methods() { return {std::begin(kMethods), std::end(kMethods)}; }

}  // namespace nibble::data::jinja
