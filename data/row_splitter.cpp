#include "data/row_splitter.h"

#include <algorithm>

#include "core/error.h"

namespace nibble::data {
namespace {

bool is_json_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Adds text[begin, end) without the white space around it, where something is left.
void add_trimmed(std::string_view text, size_t begin, size_t end, int64_t line, std::vector<RowSpan>& rows) {
  while (begin < end && is_json_space(text[begin])) ++begin;
  while (begin < end && is_json_space(text[end - 1])) --end;
  if (begin < end) rows.push_back({begin, end, line});
}

}  // namespace

RowSplitter::RowSplitter(Form form, size_t begin, int64_t line, std::string path)
    : form_(form), path_(std::move(path)), at_(begin), line_(line), row_begin_(begin), row_line_(line), last_line_(line) {}

void RowSplitter::scan(std::string_view text, bool is_end, std::vector<RowSpan>& rows) {
  if (form_ == Form::kLines) {
    scan_lines(text, is_end, rows);
  } else {
    scan_array(text, is_end, rows);
  }
}

size_t RowSplitter::finished() const { return form_ == Form::kLines || state_ == State::kInValue ? row_begin_ : at_; }

void RowSplitter::drop(size_t bytes) {
  at_ -= bytes;
  row_begin_ -= std::min(bytes, row_begin_);
}

int64_t RowSplitter::open_row_line() const {
  if (form_ == Form::kLines) return at_ > row_begin_ ? row_line_ : 0;
  return state_ == State::kInValue ? row_line_ : 0;
}

void RowSplitter::scan_lines(std::string_view text, bool is_end, std::vector<RowSpan>& rows) {
  for (size_t end = text.find('\n', at_); end != std::string_view::npos; end = text.find('\n', at_)) {
    add_trimmed(text, row_begin_, end, row_line_, rows);
    at_ = row_begin_ = end + 1;
    row_line_ = ++line_;
  }
  at_ = text.size();
  if (is_end) {
    add_trimmed(text, row_begin_, text.size(), row_line_, rows);
    row_begin_ = text.size();
  }
}

void RowSplitter::scan_array(std::string_view text, bool is_end, std::vector<RowSpan>& rows) {
  while (at_ < text.size()) {
    if (state_ == State::kInValue) {
      look_at_value(text);
      if (at_ < text.size()) end_value(text, rows);
      continue;
    }
    const char c = text[at_];
    if (is_json_space(c)) {
      line_ += c == '\n';
      ++at_;
      continue;
    }
    last_line_ = line_;
    switch (state_) {
      case State::kArrayBegin:
        state_ = State::kFirstValue;
        ++at_;
        break;
      case State::kFirstValue:
      case State::kNextValue:
        if (c == ']' && state_ == State::kFirstValue) {
          state_ = State::kArrayEnd;
          ++at_;
          break;
        }
        if (c == ',' || c == ']') throw DataError("a value is missing between the commas of the JSON array", Place{path_, line_});
        state_ = State::kInValue;
        row_begin_ = at_;
        row_line_ = line_;
        depth_ = 0;
        break;
      case State::kArrayEnd: throw DataError("more text after the JSON array's end", Place{path_, line_});
      case State::kInValue: break;  // handled above
    }
  }
  if (is_end && state_ != State::kArrayEnd) {
    throw DataError("the JSON array ends early: ']' is missing (file cut off?)", Place{path_, last_line_});
  }
}

// Stops at the comma or bracket behind the value, or at the text's end.
void RowSplitter::look_at_value(std::string_view text) {
  for (; at_ < text.size(); ++at_) {
    const char c = text[at_];
    if (c == '\n') ++line_;
    if (!is_json_space(c)) last_line_ = line_;
    if (escaped_) {
      escaped_ = false;
    } else if (in_string_) {
      escaped_ = c == '\\';
      in_string_ = c != '"';
    } else if (c == '"') {
      in_string_ = true;
    } else if (depth_ == 0 && (c == ',' || c == ']')) {
      return;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if ((c == '}' || c == ']') && depth_ > 0) {
      --depth_;
    }
  }
}

void RowSplitter::end_value(std::string_view text, std::vector<RowSpan>& rows) {
  add_trimmed(text, row_begin_, at_, row_line_, rows);
  state_ = text[at_] == ',' ? State::kNextValue : State::kArrayEnd;
  ++at_;
}

}  // namespace nibble::data
