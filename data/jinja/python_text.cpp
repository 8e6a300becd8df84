#include "data/jinja/python_text.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "core/utf8.h"
#include "data/jinja/characters.h"

namespace nibble::data::jinja {
namespace {

// The string as a literal: single quotes unless it holds some and no double ones; what cannot be printed is escaped.
void append_repr(TextBuilder& out, std::string_view text) {
  const bool double_quoted = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quoted ? '"' : '\'';
  std::string literal(1, quote);
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const std::string_view bytes = text.substr(at, static_cast<size_t>(c.length));
    at += bytes.size();
    if (literal.size() > 4096) {  // a long one goes out in parts, so that the limits hold
      out.append(literal);
      literal.clear();
    }
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\') literal.append(1, '\\').append(bytes);
    else if (c.value == '\n') literal += "\\n";
    else if (c.value == '\r') literal += "\\r";
    else if (c.value == '\t') literal += "\\t";
    else if (is_printable(c.value)) literal += bytes;
    else if (c.value < 0x100) literal += fmt::format("\\x{:02x}", static_cast<uint32_t>(c.value));
    else if (c.value < 0x10000) literal += fmt::format("\\u{:04x}", static_cast<uint32_t>(c.value));
    else literal += fmt::format("\\U{:08x}", static_cast<uint32_t>(c.value));
  }
  literal += quote;
  out.append(literal);
}

void append_value(TextBuilder& out, const Value& value, Meter& meter);

void append_items(TextBuilder& out, const std::vector<Value>& items, Meter& meter) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(", ");
    append_value(out, items[i], meter);
  }
}

void append_sequence(TextBuilder& out, const Sequence& sequence, Meter& meter) {
  switch (sequence.kind) {
    case SequenceKind::kList:
      out.append("[");
      append_items(out, sequence.items, meter);
      out.append("]");
      return;
    case SequenceKind::kTuple:
      out.append("(");
      append_items(out, sequence.items, meter);
      out.append(sequence.items.size() == 1 ? ",)" : ")");
      return;
    case SequenceKind::kRange:
      out.append(fmt::format("range({}, {}", sequence.start, sequence.stop));
      out.append(sequence.step == 1 ? ")" : fmt::format(", {})", sequence.step));
      return;
    case SequenceKind::kKeys:
    case SequenceKind::kValues:
    case SequenceKind::kItems:
      out.append(sequence.kind == SequenceKind::kKeys ? "dict_keys(["
                 : sequence.kind == SequenceKind::kValues ? "dict_values([" : "dict_items([");
      append_items(out, sequence.items, meter);
      out.append("])");
      return;
    case SequenceKind::kGenerator:
      throw Failure("a generator (the result of map, select, reverse, ...) has no text of its own; add |list or |join");
  }
}

// repr()
void append_value(TextBuilder& out, const Value& value, Meter& meter) {
  meter.step();
  if (value.is_undefined()) {
    out.append("Undefined");
  } else if (value.is_none()) {
    out.append("None");
  } else if (const bool* b = value.get<bool>()) {
    out.append(*b ? "True" : "False");
  } else if (const int64_t* i = value.get<int64_t>()) {
    out.append(fmt::format("{}", *i));
  } else if (const double* d = value.get<double>()) {
    out.append(float_text(*d));
  } else if (const Text* text = value.text()) {
    append_repr(out, text->bytes());
  } else if (const Sequence* sequence = value.sequence()) {
    append_sequence(out, *sequence, meter);
  } else if (const Dict* dict = value.dict()) {
    out.append("{");
    for (size_t k = 0; k < dict->items().size(); ++k) {
      if (k > 0) out.append(", ");
      append_value(out, dict->items()[k].first, meter);
      out.append(": ");
      append_value(out, dict->items()[k].second, meter);
    }
    out.append("}");
  } else {
    throw Failure(fmt::format("a value of type '{}' cannot be printed", type_name(value)));
  }
}

}  // namespace

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  // Python changes to an exponent below 1e-4 and from 1e16 on.
  const double size = std::fabs(value);
  const bool exponent = size != 0 && (size < 1e-4 || size >= 1e16);
  const auto format = exponent ? std::chars_format::scientific : std::chars_format::fixed;
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr);
  return !exponent && text.find('.') == std::string::npos ? text + ".0" : text;
}

Text to_repr(const Value& value, Meter& meter) {
  TextBuilder out(meter);
  append_value(out, value, meter);
  return out.take();
}

Text to_text(const Value& value, Meter& meter) {
  if (const Text* text = value.text()) return *text;
  return value.is_undefined() ? Text() : to_repr(value, meter);
}

}  // namespace nibble::data::jinja
