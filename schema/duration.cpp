#include "schema/duration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "schema/scalar.h"

namespace nibble::schema {
namespace {

constexpr int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
constexpr double kLongest = 3653.0 * kDay;  // ten years

struct Unit {
  std::string_view name;
  int64_t seconds;
};
constexpr std::array<Unit, 5> kUnits{{{"d", kDay}, {"h", kHour}, {"min", kMinute}, {"m", kMinute}, {"s", 1}}};

std::optional<Duration> whole_seconds(double seconds) {
  seconds = std::round(seconds);
  if (!(seconds >= 1) || seconds > kLongest) return std::nullopt;
  return Duration{static_cast<int64_t>(seconds)};
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Digits alone, at most `most` of them.
std::optional<int64_t> digits(std::string_view text, size_t most) {
  if (text.empty() || text.size() > most || !std::all_of(text.begin(), text.end(), is_digit)) return std::nullopt;
  int64_t value = 0;
  for (const char c : text) value = 10 * value + (c - '0');
  return value;
}

// [D-]H:MM:SS
std::optional<Duration> parse_clock(std::string_view text) {
  int64_t days = 0;
  if (const size_t dash = text.find('-'); dash != text.npos) {
    const auto parsed = digits(text.substr(0, dash), 4);
    if (!parsed) return std::nullopt;
    days = *parsed;
    text.remove_prefix(dash + 1);
  }
  const size_t first = text.find(':'), second = text.find(':', first + 1);
  if (first == text.npos || second == text.npos) return std::nullopt;
  const auto hours = digits(text.substr(0, first), 4), minutes = digits(text.substr(first + 1, second - first - 1), 2),
             seconds = digits(text.substr(second + 1), 2);
  if (!hours || !minutes || !seconds || *minutes > 59 || *seconds > 59) return std::nullopt;
  return whole_seconds(static_cast<double>(days * kDay + *hours * kHour + *minutes * kMinute + *seconds));
}

std::optional<Duration> parse_units(std::string_view text) {
  double seconds = 0;
  int64_t last_unit = 2 * kDay;
  while (!text.empty()) {
    size_t end = 0;
    while (end < text.size() && (is_digit(text[end]) || text[end] == '.')) ++end;
    const std::optional<double> number = parse_number(text.substr(0, end));
    text.remove_prefix(end);
    const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return text.starts_with(u.name); });
    if (!number || unit == kUnits.end() || unit->seconds >= last_unit) return std::nullopt;
    text.remove_prefix(unit->name.size());
    while (text.starts_with(' ')) text.remove_prefix(1);
    seconds += *number * static_cast<double>(unit->seconds);
    last_unit = unit->seconds;
  }
  return whole_seconds(seconds);
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  if (text == "none") return Duration{};
  return text.find(':') != text.npos ? parse_clock(text) : parse_units(text);
}

std::string duration_text(Duration duration) {
  if (duration.seconds == 0) return "none";
  std::string text;
  int64_t left = duration.seconds;
  for (const Unit& unit : kUnits) {
    if (unit.name == "min" || left < unit.seconds) continue;
    text += fmt::format("{}{}", left / unit.seconds, unit.name);
    left %= unit.seconds;
  }
  return text;
}

}  // namespace nibble::schema
