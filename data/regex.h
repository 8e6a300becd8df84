// Pre-tokenizer patterns: PCRE2 with Unicode properties, compiled just in time, bounded.
//
// The patterns are written for Oniguruma (tokenizer.json). Where both dialects agree the pattern is taken as it is; what
// would silently mean something else (class intersection, \h, \G) is refused with its offset. \s is the Unicode
// White_Space property in both.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace nibble::data {

struct Span {
  uint32_t begin = 0;
  uint32_t end = 0;
};

// What one thread needs to match; may serve any number of patterns, one after the other.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(RegexScratch&&) noexcept;

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

class Regex {
 public:
  // THROWS FormatError naming `path` where the pattern cannot be compiled or is of a kind not supported.
  Regex(std::string_view pattern, const std::string& path);

  // The first match at or after byte `from`. REQUIRES valid UTF-8.
  // THROWS DataError where the match needs more work than the limit (a hostile text).
  std::optional<Span> find(std::string_view text, size_t from, RegexScratch& scratch) const;

  const std::string& pattern() const { return pattern_; }

 private:
  std::string pattern_;
  std::shared_ptr<void> code_;  // pcre2_code
};

// The pattern for text itself: every character that means something is escaped.
std::string escape_regex(std::string_view literal);

}  // namespace nibble::data
