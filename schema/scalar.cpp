#include "schema/scalar.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

namespace nibble::schema {
namespace {

bool digits(std::string_view s) { return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; }); }

// An optional sign, digits without leading zeros.
bool integer_form(std::string_view s) {
  if (!s.empty() && s[0] == '-') s.remove_prefix(1);
  return digits(s) && (s.size() == 1 || s[0] != '0');
}

}  // namespace

std::optional<bool> parse_bool(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return std::nullopt;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  if (!integer_form(text)) return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_number(std::string_view text) {
  // [-]digits[.digits][e[+-]digits], digits before the point optional after a sign: .5 is a number, 1. too.
  std::string_view mantissa = text.substr(0, text.find_first_of("eE"));
  if (mantissa.size() < text.size()) {
    std::string_view exponent = text.substr(mantissa.size() + 1);
    if (!exponent.empty() && (exponent[0] == '-' || exponent[0] == '+')) exponent.remove_prefix(1);
    if (!digits(exponent)) return std::nullopt;
  }
  if (!mantissa.empty() && mantissa[0] == '-') mantissa.remove_prefix(1);
  const std::string_view whole = mantissa.substr(0, mantissa.find('.'));
  const std::string_view fraction = whole.size() < mantissa.size() ? mantissa.substr(whole.size() + 1) : std::string_view();
  if (whole.empty() && fraction.empty()) return std::nullopt;
  if (!whole.empty() && !integer_form(whole)) return std::nullopt;
  if (!fraction.empty() && !digits(fraction)) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::string number_text(double value) { return fmt::format("{}", value); }

std::string string_text(std::string_view value) {
  // The spellings that yaml-cpp takes for no value at all ("~" is never plain below).
  const bool is_null = value == "null" || value == "Null" || value == "NULL";
  const bool plain = !value.empty() && value.front() != ' ' && value.back() != ' ' && !is_null &&
                     value.front() != '-' &&
                     !parse_bool(value) && !parse_number(value) &&
                     std::all_of(value.begin(), value.end(), [](char c) {
                       return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                              std::string_view("_-./+ ").find(c) != std::string_view::npos;
                     });
  if (plain) return std::string(value);
  std::string out = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

int64_t edit_distance(std::string_view a, std::string_view b) {
  // Optimal string alignment: a swap of neighbours counts once, as people make it.
  const size_t n = b.size();
  std::vector<int64_t> before(n + 1), last(n + 1), now(n + 1);
  for (size_t j = 0; j <= n; ++j) last[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= n; ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[n];
}

}  // namespace nibble::schema
