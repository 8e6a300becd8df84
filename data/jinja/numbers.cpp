#include "data/jinja/numbers.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "data/jinja/search.h"

namespace nibble::data::jinja {
namespace {

// Without the underscores that stand between digits; nullopt: one stands elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  const auto is_alnum = [&](size_t i) {
    if (i >= text.size()) return false;
    const char c = static_cast<char>(text[i] | 0x20);
    return (text[i] >= '0' && text[i] <= '9') || (c >= 'a' && c <= 'z');
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') out += text[i];
    else if (i == 0 || !is_alnum(i - 1) || !is_alnum(i + 1)) return std::nullopt;
  }
  return out;
}

}  // namespace

std::optional<int64_t> read_integer(std::string_view text, int64_t base) {
  text = strip(text, true, true);
  const bool minus = text.starts_with('-');
  if (minus || text.starts_with('+')) text.remove_prefix(1);
  const char prefix = text.size() > 2 && text[0] == '0' ? static_cast<char>(text[1] | 0x20) : ' ';
  const int64_t named = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
  if (named != 0 && (base == named || base == 0)) {
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
    base = named;
  }
  if (base == 0) base = 10;
  if (base < 2 || base > 36) return std::nullopt;
  const auto digits = without_underscores(text);
  if (!digits || digits->empty()) return std::nullopt;
  const std::string number = (minus ? "-" : "") + *digits;
  if (number.size() > 1 && (*digits)[0] == '-') return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value, static_cast<int>(base));
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return value;
}

std::optional<double> read_float(std::string_view text) {
  const auto digits = without_underscores(strip(text, true, true));
  if (!digits || digits->empty()) return std::nullopt;
  std::string lower = *digits;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const std::string_view word = std::string_view(lower).substr(lower[0] == '+' || lower[0] == '-' ? 1 : 0);
  const bool named = word == "inf" || word == "infinity" || word == "nan";
  // strtod reads more than Python does: hexadecimal, "nan(...)".
  if (!named && word.find_first_not_of("0123456789.e+-") != std::string_view::npos) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(lower.c_str(), &end);
  if (end != lower.c_str() + lower.size()) return std::nullopt;
  return value;
}

double rounded(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 340) return value;
  if (digits < -310) return std::copysign(0.0, value);
  if (digits < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(value / scale) * scale;
  }
  // The C library rounds the exact binary value correctly; reading it back gives the nearest double.
  char buffer[1024];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), value);
  return std::strtod(buffer, nullptr);
}

}  // namespace nibble::data::jinja
