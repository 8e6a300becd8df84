// What is said about a configuration key besides its name, type and default.
#pragma once

#include <cstdint>
#include <limits>

namespace nibble::schema {

enum class OnResume : uint8_t { kMustMatch, kMayDiffer };
enum class Kind : uint8_t { kPlain, kPath, kPathOrHubId };

struct Field {
  const char* group;
  const char* doc;                 // one sentence with the trade
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  const char* unit = "";
  OnResume on_resume = OnResume::kMayDiffer;
  Kind kind = Kind::kPlain;
};

}  // namespace nibble::schema
