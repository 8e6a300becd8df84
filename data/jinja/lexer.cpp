#include "data/jinja/lexer.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "core/utf8.h"
#include "data/jinja/search.h"

namespace nibble::data::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

constexpr std::string_view kOperators[] = {"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "[", "]",
                                           "(",  ")",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";"};

class Lexer {
 public:
  explicit Lexer(const Source& source) : source_(source), text_(source.text) {}
  std::vector<Token> run();

 private:
  std::string_view rest() const { return std::string_view(text_).substr(at_); }
  bool next_is(std::string_view what) const { return rest().starts_with(what); }
  [[noreturn]] void refuse(size_t at, const std::string& message) const { source_.refuse(at, message); }

  void skip_space();
  void add(TokenKind kind, size_t at, std::string value = {}) { tokens_.push_back({kind, static_cast<uint32_t>(at), std::move(value)}); }
  void add_data(size_t begin, size_t end, char sign, bool block);
  size_t next_tag() const;
  size_t raw_begin_size(size_t at) const;
  void read_comment(size_t begin);
  void read_raw(size_t begin);
  void end_block(std::string_view closing);
  void read_expression(bool block, size_t begin);
  bool at_end_of_tag(bool block);
  void read_number();
  void read_string();
  void read_operator();

  const Source& source_;
  const std::string& text_;
  size_t at_ = 0;
  bool line_starting_ = true;  // what was read last ended with a line break
  std::string open_;           // brackets that wait to be closed, by their closing character
  std::vector<Token> tokens_;
};

void Lexer::skip_space() {
  while (at_ < text_.size()) {
    const CodePoint c = decode_utf8(text_, at_);
    if (!is_space(c.value)) return;
    at_ += static_cast<size_t>(c.length);
  }
}

// The text in front of a tag, shortened as the tag's sign and lstrip_blocks say.
void Lexer::add_data(size_t begin, size_t end, char sign, bool block) {
  std::string_view data = std::string_view(text_).substr(begin, end - begin);
  if (sign == '-') {
    data = strip(data, false, true);
  } else if (sign != '+' && block) {
    const size_t line = data.rfind('\n') + 1;
    if ((line > 0 || line_starting_) && strip(data.substr(line), true, false).empty()) data = data.substr(0, line);
  }
  if (!data.empty()) add(TokenKind::kData, begin, std::string(data));
}

// Bytes of "{% raw %}" with its signs and spaces at `at`; 0: something else stands there.
size_t Lexer::raw_begin_size(size_t at) const {
  std::string_view text = std::string_view(text_).substr(at);
  const size_t whole = text.size();
  if (!text.starts_with("{%")) return 0;
  text.remove_prefix(2);
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  text = strip(text, true, false);
  if (!text.starts_with("raw")) return 0;
  text = strip(text.substr(3), true, false);
  if (text.starts_with("-%}")) return whole - strip(text.substr(3), true, false).size();
  return text.starts_with("%}") ? whole - text.size() + 2 : 0;
}

// Behind the closing of a block or comment, where a sign may stand in front of it.
void Lexer::end_block(std::string_view closing) {
  const bool minus = next_is("-"), plus = next_is("+");
  at_ += closing.size() + (minus || plus);
  if (minus) skip_space();
  else if (!plus && next_is("\n")) ++at_;
  line_starting_ = text_[at_ - 1] == '\n';
}

void Lexer::read_comment(size_t begin) {
  const size_t end = text_.find("#}", at_);
  if (end == std::string::npos) refuse(begin, "the comment {# is not closed with #}");
  const bool sign = end > at_ && (text_[end - 1] == '-' || text_[end - 1] == '+');
  at_ = end - sign;
  end_block("#}");
}

void Lexer::read_raw(size_t begin) {
  const size_t content = at_;
  for (size_t tag = text_.find("{%", at_); tag != std::string::npos; tag = text_.find("{%", tag + 2)) {
    at_ = tag + 2;
    const char sign = next_is("-") ? '-' : next_is("+") ? '+' : ' ';
    at_ += sign != ' ';
    skip_space();
    if (!next_is("endraw")) continue;
    at_ += 6;
    skip_space();
    if (!next_is("%}") && !next_is("-%}") && !next_is("+%}")) continue;
    // jinja2 takes the blanks before endraw for lstrip_blocks as before any other tag.
    add_data(content, tag, sign, true);
    end_block("%}");
    return;
  }
  refuse(begin, "{% raw %} is not closed with {% endraw %}");
}

bool Lexer::at_end_of_tag(bool block) {
  if (!open_.empty()) return false;
  if (block) return next_is("%}") || next_is("-%}") || next_is("+%}");
  return next_is("}}") || next_is("-}}");
}

void Lexer::read_number() {
  const size_t begin = at_;
  const auto digits = [&](auto is_one) {  // with single underscores between
    size_t end = at_;
    while (end < text_.size() && (is_one(text_[end]) || (text_[end] == '_' && end > at_ && end + 1 < text_.size() && is_one(text_[end + 1])))) ++end;
    return end;
  };
  const auto without_underscores = [&](size_t from) {
    std::string text = text_.substr(from, at_ - from);
    std::erase(text, '_');
    return text;
  };
  // A float needs a fraction or an exponent, both with digits; what follows a dot (a.1.2) is never one.
  const bool after_dot = begin > 0 && text_[begin - 1] == '.';
  if (!after_dot) {
    at_ = digits(is_digit);
    bool is_float = false;
    if (next_is(".") && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])) {
      ++at_;
      at_ = digits(is_digit);
      is_float = true;
    }
    if (next_is("e") || next_is("E")) {
      const size_t before = at_++;
      if (next_is("+") || next_is("-")) ++at_;
      if (at_ < text_.size() && is_digit(text_[at_])) {
        at_ = digits(is_digit);
        is_float = true;
      } else {
        at_ = before;
      }
    }
    if (is_float) {
      add(TokenKind::kFloat, begin);
      const std::string text = without_underscores(begin);
      // Out of range: infinity or zero, as Python reads it.
      tokens_.back().number = std::strtod(text.c_str(), nullptr);
      return;
    }
    at_ = begin;
  }
  int base = 10;
  if (text_[at_] == '0' && at_ + 1 < text_.size()) {
    const char kind = static_cast<char>(text_[at_ + 1] | 0x20);
    base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
  }
  const auto is_one = [&](char c) {
    if (base == 16) return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
    return c >= '0' && c < '0' + base;
  };
  if (base != 10) at_ += 2;
  const size_t digits_begin = at_;
  if (base == 10 && text_[at_] == '0') {
    // "007" is no number in Python; zeros are.
    at_ = digits([](char c) { return c == '0'; });
    if (at_ < text_.size() && is_digit(text_[at_])) refuse(begin, "an integer does not begin with 0");
  } else {
    at_ = digits(is_one);
  }
  if (at_ == digits_begin) refuse(begin, "the number has no digits");
  const std::string text = without_underscores(digits_begin);
  add(TokenKind::kInteger, begin);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tokens_.back().integer, base);
  if (error != std::errc() || end != text.data() + text.size()) refuse(begin, "the integer is too large: at most 64 bits are supported");
}

void Lexer::read_string() {
  const size_t begin = at_;
  const char quote = text_[at_++];
  while (at_ < text_.size() && text_[at_] != quote) at_ += text_[at_] == '\\' ? 2 : 1;
  if (at_ >= text_.size()) refuse(begin, fmt::format("the string that begins with {} is not closed", quote));
  const std::string_view literal = std::string_view(text_).substr(begin + 1, at_ - begin - 1);
  ++at_;
  add(TokenKind::kString, begin, unescape(source_, literal, begin + 1));
}

void Lexer::read_operator() {
  const auto* found = std::find_if(std::begin(kOperators), std::end(kOperators), [&](std::string_view o) { return next_is(o); });
  if (found == std::end(kOperators)) {
    const auto length = static_cast<size_t>(decode_utf8(text_, at_).length);
    refuse(at_, fmt::format("the character '{}' has no meaning in an expression", text_.substr(at_, length)));
  }
  const char c = (*found)[0];
  if (c == '(') open_ += ')';
  if (c == '[') open_ += ']';
  if (c == '{') open_ += '}';
  if (c == ')' || c == ']' || c == '}') {
    if (open_.empty()) refuse(at_, fmt::format("'{}' closes nothing", c));
    if (open_.back() != c) refuse(at_, fmt::format("'{}' where '{}' is expected", c, open_.back()));
    open_.pop_back();
  }
  add(TokenKind::kOperator, at_, std::string(*found));
  at_ += found->size();
}

void Lexer::read_expression(bool block, size_t begin) {
  open_.clear();
  while (at_ < text_.size()) {
    if (at_end_of_tag(block)) {
      add(block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, at_);
      if (block) {
        end_block("%}");
        return;
      }
      const bool minus = next_is("-");
      at_ += 2 + minus;
      if (minus) skip_space();
      line_starting_ = text_[at_ - 1] == '\n';
      return;
    }
    const size_t before = at_;
    skip_space();
    if (at_ > before) continue;
    const char c = text_[at_];
    if (is_digit(c)) {
      read_number();
    } else if (is_name_start(c)) {
      while (at_ < text_.size() && (is_name_start(text_[at_]) || is_digit(text_[at_]))) ++at_;
      add(TokenKind::kName, before, text_.substr(before, at_ - before));
    } else if (c == '"' || c == '\'') {
      read_string();
    } else {
      read_operator();
    }
  }
  refuse(begin, block ? "{% is not closed with %}" : "{{ is not closed with }}");
}

// Where the next {%, {{ or {# begins; the size of the text: there is none.
size_t Lexer::next_tag() const {
  for (size_t at = at_; at + 1 < text_.size(); ++at) {
    if (text_[at] == '{' && (text_[at + 1] == '%' || text_[at + 1] == '{' || text_[at + 1] == '#')) return at;
  }
  return text_.size();
}

std::vector<Token> Lexer::run() {
  while (at_ < text_.size()) {
    const size_t begin = at_;
    const size_t tag = next_tag();
    if (tag == text_.size()) {
      add(TokenKind::kData, begin, text_.substr(begin));
      break;
    }
    const char kind = text_[tag + 1];
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : ' ';
    const bool signed_tag = sign == '-' || sign == '+';
    add_data(begin, tag, sign, kind != '{');
    at_ = tag + 2 + signed_tag;
    if (kind == '#') {
      read_comment(tag);
    } else if (const size_t raw = raw_begin_size(tag); raw > 0) {
      at_ = tag + raw;
      line_starting_ = text_[at_ - 1] == '\n';
      read_raw(tag);
    } else {
      if (kind == '%') add(TokenKind::kBlockBegin, tag);
      else add(TokenKind::kVariableBegin, tag);
      read_expression(kind == '%', tag);
    }
  }
  add(TokenKind::kEnd, text_.size());
  return std::move(tokens_);
}

}  // namespace

std::vector<Token> tokenize(const Source& source) { return Lexer(source).run(); }

}  // namespace nibble::data::jinja
