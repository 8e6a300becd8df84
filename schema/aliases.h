// Names that other trainers use for our keys, and keys of theirs that nibble does not have.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace nibble::schema {

// How an alias's value becomes the canonical key's.
enum class Translate : uint8_t {
  kSame,
  kNot,             // a boolean, inverted
  kFourBits,        // 4 means true
  kTrueIsBf16,      // true, auto -> bfloat16, false -> float32
  kAllIsAllLinear,  // all -> all-linear; else a comma-separated list
  kTrueIsAllLinear,
  kTrueIsAuto,      // true -> auto, false -> none
  kTrueIsNone,      // true -> none, false -> auto
};

struct Alias {
  std::string_view name, canonical;
  Translate translate = Translate::kSame;
};
std::span<const Alias> aliases();

// A key that another trainer has: what to do here instead.
struct KnownElsewhere {
  std::string_view name, advice;
};
std::span<const KnownElsewhere> known_elsewhere();

}  // namespace nibble::schema
