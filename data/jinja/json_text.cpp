// to_json of data/jinja/python_text.h: JSON as Python's json.dumps writes it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/utf8.h"
#include "data/jinja/compare.h"
#include "data/jinja/python_text.h"

namespace nibble::data::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Meter& meter) : style_(style), meter_(meter), out_(meter) {}

  void write(const Value& value, int level);
  Text take() { return out_.take(); }

 private:
  void write_list(const std::vector<Value>& items, int level);
  void write_dict(const Dict& dict, int level);
  void write_string(const Text& source);
  std::string number(double value) const {
    return std::isnan(value) ? "NaN" : std::isinf(value) ? (value > 0 ? "Infinity" : "-Infinity") : float_text(value);
  }
  std::string key_text(const Value& key) const;
  void new_line(int level) {
    if (!style_.indent) return;
    out_.append("\n");
    for (int i = 0; i < level; ++i) out_.append(*style_.indent);
  }

  const JsonStyle& style_;
  Meter& meter_;
  TextBuilder out_;
};

void JsonWriter::write(const Value& value, int level) {
  meter_.step();
  if (const Text* text = value.text()) {
    write_string(*text);
  } else if (value.is_none()) {
    out_.append("null");
  } else if (const bool* b = value.get<bool>()) {
    out_.append(*b ? "true" : "false");
  } else if (const int64_t* i = value.get<int64_t>()) {
    out_.append(fmt::format("{}", *i));
  } else if (const double* d = value.get<double>()) {
    out_.append(number(*d));
  } else if (const Dict* dict = value.dict()) {
    write_dict(*dict, level);
  } else if (const Sequence* s = value.sequence();
             s && (s->kind == SequenceKind::kList || s->kind == SequenceKind::kTuple)) {
    write_list(s->items, level);
  } else if (value.is_undefined()) {
    throw Failure(value.get<Undefined>()->message() + ", so that it has no form in JSON");
  } else {
    throw Failure(fmt::format("a value of type '{}' has no form in JSON", type_name(value)));
  }
}

void JsonWriter::write_list(const std::vector<Value>& items, int level) {
  if (items.empty()) {
    out_.append("[]");
    return;
  }
  out_.append("[");
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out_.append(style_.item_separator);
    new_line(level + 1);
    write(items[i], level + 1);
  }
  new_line(level);
  out_.append("]");
}

void JsonWriter::write_dict(const Dict& dict, int level) {
  if (dict.items().empty()) {
    out_.append("{}");
    return;
  }
  std::vector<Keyed> members;
  meter_.create(style_.sort_keys ? dict.items().size() * sizeof(Keyed) : 0);
  if (style_.sort_keys) {
    for (const auto& [key, value] : dict.items()) members.push_back({key, value});
    sort_by_key(members, false, meter_);
  }
  out_.append("{");
  for (size_t i = 0; i < dict.items().size(); ++i) {
    const Value& key = style_.sort_keys ? members[i].key : dict.items()[i].first;
    const Value& value = style_.sort_keys ? members[i].value : dict.items()[i].second;
    if (i > 0) out_.append(style_.item_separator);
    new_line(level + 1);
    const std::string name = key_text(key);
    write_string(Text(std::string_view(name)));
    out_.append(style_.key_separator);
    write(value, level + 1);
  }
  new_line(level);
  out_.append("}");
}

std::string JsonWriter::key_text(const Value& key) const {
  if (const Text* text = key.text()) return std::string(text->bytes());
  if (key.is_none()) return "null";
  if (const bool* b = key.get<bool>()) return *b ? "true" : "false";
  if (const int64_t* i = key.get<int64_t>()) return fmt::format("{}", *i);
  if (const double* d = key.get<double>()) return number(*d);
  throw Failure(fmt::format("a key of type '{}' has no form in JSON", type_name(key)));
}

// What needs no escape keeps its marks: a call's arguments are the row's text, in whatever form.
void JsonWriter::write_string(const Text& source) {
  const std::string_view text = source.bytes();
  meter_.scan(text.size());
  std::string literal = "\"";
  bool marked = false;
  source.for_each_mark([&](const Mark&) { marked = true; });
  const auto take_over = [&](size_t begin, size_t end) {
    if (!marked) {
      literal += text.substr(begin, end - begin);
      return;
    }
    out_.append(literal).append(source.part(begin, end));
    literal.clear();
  };
  size_t plain = 0;  // start of what can be taken over as it is
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const bool taken = byte >= 0x20 && byte != '"' && byte != '\\' && !(style_.ascii && byte >= 0x7F);
    if (taken) {
      ++at;
      continue;
    }
    take_over(plain, at);
    const CodePoint c = decode_utf8(text, at);
    const auto code = static_cast<uint32_t>(c.value);
    at += static_cast<size_t>(c.length);
    plain = at;
    if (literal.size() > 4096) {  // a long one goes out in parts, so that the limits hold
      out_.append(literal);
      literal.clear();
    }
    switch (code) {
      case '"': literal += "\\\""; break;
      case '\\': literal += "\\\\"; break;
      case '\n': literal += "\\n"; break;
      case '\r': literal += "\\r"; break;
      case '\t': literal += "\\t"; break;
      case '\f': literal += "\\f"; break;
      case '\b': literal += "\\b"; break;
      default:
        if (code < 0x10000) literal += fmt::format("\\u{:04x}", code);
        else
          literal +=
              fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10), 0xDC00 + ((code - 0x10000) & 0x3FF));
    }
  }
  take_over(plain, text.size());
  literal += '"';
  out_.append(literal);
}

}  // namespace

Text to_json(const Value& value, const JsonStyle& style, Meter& meter) {
  JsonWriter writer(style, meter);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace nibble::data::jinja
