// A stream of JSON text cut into rows, without parsing them: lines, or the values of one array.
//
// The text comes in pieces. The caller keeps what is not finished and appends to it; the splitter remembers how far it has
// looked, so every byte is looked at once, however long a row is. Only brackets, commas, strings and line ends matter
// here; what lies between them is the row parser's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::data {

// A row's bytes in the text, white space around it left out, and the line of its first byte, counted from 1.
struct RowSpan {
  size_t begin = 0, end = 0;
  int64_t line = 0;
};

class RowSplitter {
 public:
  enum class Form : uint8_t { kLines, kArray };
  // Begins at byte `begin` of the text, in line `line`; kArray: at its '['.
  RowSplitter(Form form, size_t begin, int64_t line, std::string path);

  // Looks at what was appended since the last call and adds the rows that are complete. is_end: nothing follows.
  // THROWS DataError where an array is cut off, lacks a value between commas, or is followed by more text.
  void scan(std::string_view text, bool is_end, std::vector<RowSpan>& rows);

  // Bytes at the front of the text that no later row needs. The caller cuts them off and says so with drop().
  size_t finished() const;
  void drop(size_t bytes);

  int64_t line() const { return line_; }  // how far it has looked
  // Of the row that is not complete; 0: between rows.
  int64_t open_row_line() const;

 private:
  void scan_lines(std::string_view text, bool is_end, std::vector<RowSpan>& rows);
  void scan_array(std::string_view text, bool is_end, std::vector<RowSpan>& rows);
  void look_at_value(std::string_view text);
  void end_value(std::string_view text, std::vector<RowSpan>& rows);

  enum class State : uint8_t { kArrayBegin, kFirstValue, kNextValue, kInValue, kArrayEnd };
  Form form_;
  std::string path_;
  size_t at_;            // looked at so far
  int64_t line_;         // of at_
  State state_ = State::kArrayBegin;
  size_t row_begin_;     // lines: of the line; array: of the value
  int64_t row_line_;
  int64_t last_line_;    // array: of the last byte that is not white space
  int64_t depth_ = 0;    // array: brackets open inside the value
  bool in_string_ = false, escaped_ = false;
};

}  // namespace nibble::data
