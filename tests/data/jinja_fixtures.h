// What the tests of the template language share.
#pragma once

#include <ctime>
#include <nlohmann/json.hpp>

namespace nibble::data::jinja {

// From [year, month, day, hour, minute, second], with the day of the week and of the year.
inline std::tm golden_time(const nlohmann::ordered_json& parts) {
  std::tm time{};
  time.tm_year = parts[0].get<int>() - 1900;
  time.tm_mon = parts[1].get<int>() - 1;
  time.tm_mday = parts[2].get<int>();
  time.tm_hour = parts[3].get<int>();
  time.tm_min = parts[4].get<int>();
  time.tm_sec = parts[5].get<int>();
  std::tm copy = time;
  const std::time_t seconds = timegm(&copy);
  gmtime_r(&seconds, &time);
  return time;
}

}  // namespace nibble::data::jinja
