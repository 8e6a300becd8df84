// A length of time as people write it: 11h30m, 90min, 45s, or 11:30:00 as schedulers have it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nibble::schema {

// 0 stands for "none": without end.
struct Duration {
  int64_t seconds = 0;
  bool operator==(const Duration&) const = default;
};

// "none"; whole or decimal numbers with d, h, min or m, s, from the largest unit to the smallest, spaces between them allowed;
// or H:MM:SS, or D-HH:MM:SS. nullopt: none of these, not above 0, or more than 10 years. A number alone is none of these: seconds
// to one are minutes to another.
std::optional<Duration> parse_duration(std::string_view text);

// "11h30m", "45s", "none".
std::string duration_text(Duration duration);

}  // namespace nibble::schema
