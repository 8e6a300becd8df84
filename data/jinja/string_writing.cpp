// Methods of strings that write new ones: case, padding, join, format.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "data/jinja/characters.h"
#include "data/jinja/methods.h"
#include "data/jinja/python_text.h"
#include "data/jinja/search.h"

namespace nibble::data::jinja {
namespace {

Value recased(std::string_view name, Environment& environment, const Value& self, const Arguments& arguments, std::string (*change)(std::string_view)) {
  bind_none(name, arguments);
  environment.meter.scan(16 * self.text()->bytes().size());
  return Value(reshaped_text(change(self.text()->bytes()), *self.text(), environment.meter));
}

Value string_upper(Environment& e, const Value& self, const Arguments& a) { return recased("upper()", e, self, a, to_upper); }
Value string_lower(Environment& e, const Value& self, const Arguments& a) { return recased("lower()", e, self, a, to_lower); }
Value string_title(Environment& e, const Value& self, const Arguments& a) { return recased("title()", e, self, a, to_title); }
Value string_capitalize(Environment& e, const Value& self, const Arguments& a) { return recased("capitalize()", e, self, a, capitalized); }
Value string_swapcase(Environment& e, const Value& self, const Arguments& a) { return recased("swapcase()", e, self, a, swapped_case); }

struct Padding {
  int64_t left = 0;
  int64_t right = 0;
};

Value padded(std::string_view name, Environment& environment, const Value& self, const Arguments& arguments, Padding (*pad)(int64_t missing, int64_t width)) {
  const auto [width, fillchar] = bind<2>(name, arguments, {"width", "fillchar"}, 1);
  const auto fill = optional_text_argument(name, fillchar);
  if (fill && length_of(fill->bytes()) != 1) throw Failure(fmt::format("{}: the filling is one character", name));
  environment.meter.scan(self.text()->bytes().size());
  const int64_t wanted = std::min(integer_argument(name, width, 0), environment.meter.limits().output_bytes + 1);
  const int64_t missing = wanted - length_of(self.text()->bytes());
  if (missing <= 0) return self;
  const Padding padding = pad(missing, wanted);
  environment.meter.step(missing);
  TextBuilder out(environment.meter);
  const auto write = [&](int64_t count) {
    if (!fill) out.append(static_cast<size_t>(count), ' ');
    for (int64_t i = 0; fill && i < count; ++i) out.append(*fill);
  };
  write(padding.left);
  out.append(*self.text());
  write(padding.right);
  return Value(out.take());
}

Value string_ljust(Environment& e, const Value& self, const Arguments& a) {
  return padded("ljust()", e, self, a, [](int64_t missing, int64_t) { return Padding{0, missing}; });
}
Value string_rjust(Environment& e, const Value& self, const Arguments& a) {
  return padded("rjust()", e, self, a, [](int64_t missing, int64_t) { return Padding{missing, 0}; });
}
Value string_center(Environment& e, const Value& self, const Arguments& a) {
  // Python puts the odd one to the left where the width is odd too.
  return padded("center()", e, self, a, [](int64_t missing, int64_t width) {
    const int64_t left = missing / 2 + (missing & width & 1);
    return Padding{left, missing - left};
  });
}

Value string_zfill(Environment& environment, const Value& self, const Arguments& arguments) {
  const auto [width] = bind<1>("zfill()", arguments, {"width"}, 1);
  const Text& text = *self.text();
  environment.meter.scan(text.bytes().size());
  const int64_t wanted = std::min(integer_argument("zfill()", width, 0), environment.meter.limits().output_bytes + 1);
  const int64_t missing = wanted - length_of(text.bytes());
  if (missing <= 0) return self;
  const size_t sign = text.bytes().starts_with('+') || text.bytes().starts_with('-') ? 1 : 0;
  TextBuilder out(environment.meter);
  if (sign > 0) out.append(text.part(0, sign));
  out.append(static_cast<size_t>(missing), '0').append(text.part(sign, text.bytes().size()));
  return Value(out.take());
}

Value string_join(Environment& environment, const Value& self, const Arguments& arguments) {
  const auto [iterable] = bind<1>("join()", arguments, {"iterable"}, 1);
  TextBuilder out(environment.meter);
  bool first = true;
  for (const Value& item : elements(*iterable, environment.meter)) {
    environment.meter.step();
    if (!std::exchange(first, false)) out.append(*self.text());
    out.append(text_argument("join()", &item));
  }
  return Value(out.take());
}

// {} {0} {name} {{ }}; what Python allows inside the braces beyond that is refused.
Value string_format(Environment& environment, const Value& self, const Arguments& arguments) {
  const Text& format = *self.text();
  const std::string_view bytes = format.bytes();
  TextBuilder out(environment.meter);
  size_t next = 0;
  for (size_t at = 0; at < bytes.size();) {
    environment.meter.step();
    const size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
    out.append(format.part(at, brace));
    if (brace == bytes.size()) break;
    at = brace + 1;
    if (at < bytes.size() && bytes[at] == bytes[brace]) {
      out.append(format.part(at, at + 1));
      ++at;
      continue;
    }
    const size_t end = bytes.find('}', at);
    if (bytes[brace] == '}' || end == std::string_view::npos) throw Failure("format(): a single brace; write it twice where it means itself");
    const std::string_view field = bytes.substr(at, end - at);
    at = end + 1;
    if (field.find_first_of(":!.[{") != std::string_view::npos) throw Failure(fmt::format("format(): the field '{{{}}}' is not supported", field));
    size_t index = next;
    const Value* value = nullptr;
    const auto [parsed_end, error] = std::from_chars(field.data(), field.data() + field.size(), index);
    const bool numbered = !field.empty() && error == std::errc() && parsed_end == field.data() + field.size();
    if (field.empty()) ++next;
    if (field.empty() || numbered) {
      if (index < arguments.positional.size()) value = &arguments.positional[index];
    } else {
      for (const auto& [name, keyword] : arguments.keywords) {
        if (name == field) value = &keyword;
      }
    }
    if (!value) throw Failure(fmt::format("format(): there is no argument for the field '{{{}}}'", field));
    out.append(to_text(*value, environment.meter));
  }
  return Value(out.take());
}

constexpr auto kCallable = Method::Kind::kCallable;
constexpr auto kUnsupported = Method::Kind::kUnsupported;

const Method kMethods[] = {
    {"capitalize", kCallable, string_capitalize}, {"casefold", kUnsupported}, {"center", kCallable, string_center},
    {"encode", kUnsupported}, {"expandtabs", kUnsupported}, {"format", kCallable, string_format}, {"format_map", kUnsupported},
    {"join", kCallable, string_join}, {"ljust", kCallable, string_ljust}, {"lower", kCallable, string_lower},
    {"maketrans", kUnsupported}, {"rjust", kCallable, string_rjust}, {"swapcase", kCallable, string_swapcase},
    {"title", kCallable, string_title}, {"translate", kUnsupported}, {"upper", kCallable, string_upper},
    {"zfill", kCallable, string_zfill},
};

}  // namespace

MethodTable string_writing_methods() { return {std::begin(kMethods), std::end(kMethods)}; }

}  // namespace nibble::data::jinja
