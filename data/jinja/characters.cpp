#include "data/jinja/characters.h"

#include <algorithm>
#include <stdexcept>

#include "core/utf8.h"
#include "data/jinja/case_table.h"
#include "data/regex.h"

namespace nibble::data::jinja {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3;
constexpr char32_t kSmallSigma = 0x3C3;
constexpr char32_t kFinalSigma = 0x3C2;

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

char32_t moved(const CaseRun* runs, size_t count, char32_t c) {
  const CaseRun* end = runs + count;
  const CaseRun* run = std::lower_bound(runs, end, c, [](const CaseRun& r, char32_t value) { return r.last < value; });
  if (run == end || c < run->first || (c - run->first) % run->stride != 0) return c;
  return static_cast<char32_t>(static_cast<int32_t>(c) + run->distance);
}

const char32_t* special(const CaseSpecial* table, size_t count, char32_t c) {
  const CaseSpecial* end = table + count;
  const CaseSpecial* at = std::lower_bound(table, end, c, [](const CaseSpecial& s, char32_t value) { return s.character < value; });
  return at != end && at->character == c ? at->text : nullptr;
}

void append_all(std::string& out, const char32_t* text) {
  for (; *text; ++text) append_utf8(out, *text);
}

void append_upper(std::string& out, char32_t c) {
  if (c < 0x80) out += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  else if (const char32_t* text = special(kUpperSpecials, kUpperSpecialsCount, c)) append_all(out, text);
  else append_utf8(out, moved(kUpperRuns, kUpperRunsCount, c));
}

void append_title(std::string& out, char32_t c) {
  const char32_t* text = c < 0x80 ? nullptr : special(kTitleSpecials, kTitleSpecialsCount, c);
  if (text) append_all(out, text);
  else append_upper(out, c);
}

void append_lower(std::string& out, char32_t c) {
  if (c < 0x80) out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  else if (c == 0x130) out += "i\xCC\x87";  // the one character whose lower case is two: i and a dot above
  else append_utf8(out, moved(kLowerRuns, kLowerRunsCount, c));
}

std::u32string decoded(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    out += c.value;
    at += static_cast<size_t>(c.length);
  }
  return out;
}

// Unicode's Final_Sigma: a letter before and none behind, marks and apostrophes not counted.
char32_t lower_sigma(const std::u32string& text, size_t at) {
  size_t before = at;
  while (before > 0 && is_of(CharacterClass::kCaseIgnorable, text[before - 1])) --before;
  if (before == 0 || !is_of(CharacterClass::kCased, text[before - 1])) return kSmallSigma;
  size_t behind = at + 1;
  while (behind < text.size() && is_of(CharacterClass::kCaseIgnorable, text[behind])) ++behind;
  return behind < text.size() && is_of(CharacterClass::kCased, text[behind]) ? kSmallSigma : kFinalSigma;
}

void append_lower_at(std::string& out, const std::u32string& text, size_t at) {
  if (text[at] == kCapitalSigma) append_utf8(out, lower_sigma(text, at));
  else append_lower(out, text[at]);
}

bool matches(const Regex& regex, char32_t c) {
  std::string text;
  append_utf8(text, c);
  // Room to match in, no state: making it anew for each character would cost more than the match.
  static thread_local RegexScratch scratch;
  return regex.find(text, 0, scratch).has_value();
}

bool has_property(CharacterClass of, char32_t c) {
  static const Regex alpha("\\p{L}", ""), decimal("\\p{Nd}", ""), lower("\\p{Lowercase}", ""), upper("\\p{Uppercase}", "");
  static const Regex cased("\\p{Cased}", ""), ignorable("\\p{Case_Ignorable}", ""), hidden("[\\p{C}\\p{Z}]", "");
  // Digits that are no decimals (superscripts, circled ones), and numbers among the ideographs.
  static const Regex digit("[\\p{Nd}\\x{B2}\\x{B3}\\x{B9}\\x{1369}-\\x{1371}\\x{19DA}\\x{2070}\\x{2074}-\\x{2079}\\x{2080}-\\x{2089}"
                           "\\x{2460}-\\x{2468}\\x{2474}-\\x{247C}\\x{2488}-\\x{2490}\\x{24EA}\\x{24F5}-\\x{24FD}\\x{24FF}"
                           "\\x{2776}-\\x{277E}\\x{2780}-\\x{2788}\\x{278A}-\\x{2792}\\x{10A40}-\\x{10A43}\\x{10E60}-\\x{10E68}"
                           "\\x{11052}-\\x{1105A}\\x{1F100}-\\x{1F10A}]", "");
  static const Regex numeric("\\p{N}", "");
  switch (of) {
    case CharacterClass::kAlpha: return matches(alpha, c);
    case CharacterClass::kDecimal: return matches(decimal, c);
    case CharacterClass::kDigit: return matches(digit, c);
    case CharacterClass::kNumeric: return matches(numeric, c);
    case CharacterClass::kLower: return matches(lower, c);
    case CharacterClass::kUpper: return matches(upper, c);
    case CharacterClass::kCased: return matches(cased, c);
    case CharacterClass::kCaseIgnorable: return matches(ignorable, c);
    case CharacterClass::kPrintable: return !matches(hidden, c);
  }
  throw std::logic_error("unknown class of characters");
}

}  // namespace

bool is_of(CharacterClass of, char32_t c) {
  if (c >= 0x80) return has_property(of, c);
  const bool lower = c >= 'a' && c <= 'z', upper = c >= 'A' && c <= 'Z';
  switch (of) {
    case CharacterClass::kAlpha:
    case CharacterClass::kCased: return lower || upper;
    case CharacterClass::kDecimal:
    case CharacterClass::kDigit:
    case CharacterClass::kNumeric: return c >= '0' && c <= '9';
    case CharacterClass::kLower: return lower;
    case CharacterClass::kUpper: return upper;
    case CharacterClass::kCaseIgnorable: return c == '\'' || c == '.' || c == ':' || c == '^' || c == '`';
    case CharacterClass::kPrintable: return c >= 0x20 && c < 0x7F;
  }
  throw std::logic_error("unknown class of characters");
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : decoded(text)) append_upper(out, c);
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (is_ascii(text)) {
    for (const char c : text) append_lower(out, static_cast<unsigned char>(c));
    return out;
  }
  const std::u32string characters = decoded(text);
  for (size_t i = 0; i < characters.size(); ++i) append_lower_at(out, characters, i);
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  const std::u32string characters = decoded(text);
  bool inside = false;  // the character before has case
  for (size_t i = 0; i < characters.size(); ++i) {
    if (inside) append_lower_at(out, characters, i);
    else append_title(out, characters[i]);
    inside = is_of(CharacterClass::kCased, characters[i]);
  }
  return out;
}

std::string capitalized(std::string_view text) {
  std::string out;
  const std::u32string characters = decoded(text);
  for (size_t i = 0; i < characters.size(); ++i) {
    if (i == 0) append_title(out, characters[i]);
    else append_lower_at(out, characters, i);
  }
  return out;
}

std::string swapped_case(std::string_view text) {
  std::string out;
  const std::u32string characters = decoded(text);
  for (size_t i = 0; i < characters.size(); ++i) {
    if (is_of(CharacterClass::kUpper, characters[i])) append_lower_at(out, characters, i);
    else if (is_of(CharacterClass::kLower, characters[i])) append_upper(out, characters[i]);
    else append_utf8(out, characters[i]);
  }
  return out;
}

}  // namespace nibble::data::jinja
