// Damage to an input, decided by numbers alone, so that a finding can be made again: what libFuzzer does without its feedback.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/rng.h"

namespace nibble::fuzz {

class Mutator {
 public:
  Mutator(uint64_t seed, uint64_t number) : seed_(seed), number_(number) {}

  // One to four changes of `bytes`; `other` is what pieces are taken from.
  void apply(std::string& bytes, const std::string& other) {
    for (uint64_t changes = 1 + below(4); changes > 0; --changes) change(bytes, other);
  }

 private:
  uint64_t below(uint64_t limit) { return limit == 0 ? 0 : random_below({seed_, RngPurpose::kTest, number_}, draw_++, limit); }

  void change(std::string& bytes, const std::string& other) {
    if (bytes.empty()) bytes = other;
    if (bytes.empty()) return;
    const size_t at = below(bytes.size());
    switch (below(9)) {
      case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); break;
      case 1: bytes[at] = static_cast<char>(below(256)); break;
      case 2: bytes.resize(at); break;
      case 3: bytes.erase(at, 1 + below(16)); break;
      case 4: set_integer(bytes, at); break;
      case 5: set_number_text(bytes, at); break;
      case 6: bytes.insert(at, bytes.substr(at, 1 + below(64))); break;
      case 7: splice(bytes, at, other); break;
      case 8: repeat(bytes, at); break;
    }
  }

  // Lengths, counts and offsets at the ends of their range, in every width.
  void set_integer(std::string& bytes, size_t at) {
    static constexpr std::array<uint64_t, 12> kExtremes{0, 1, UINT64_MAX, UINT64_MAX - 7, uint64_t{1} << 63, (uint64_t{1} << 63) - 1, uint64_t{1} << 31,
                                                        (uint64_t{1} << 31) - 1, uint64_t{1} << 32, (uint64_t{1} << 32) - 1, uint64_t{1} << 61, 4096};
    const uint64_t value = kExtremes[below(kExtremes.size())];
    std::memcpy(bytes.data() + at, &value, std::min<size_t>(size_t{1} << below(4), bytes.size() - at));
  }

  // The same for texts: the next run of digits.
  void set_number_text(std::string& bytes, size_t at) {
    static const std::array<std::string, 11> kExtremes{"0", "-1", "1e999", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808",
                                                       "18446744073709551615", "0.5", "\"\"", "null"};
    constexpr const char* kDigits = "0123456789";
    const size_t begin = bytes.find_first_of(kDigits, at);
    if (begin == std::string::npos) return;
    const size_t end = std::min(bytes.find_first_not_of(kDigits, begin), bytes.size());
    bytes.replace(begin, end - begin, kExtremes[below(kExtremes.size())]);
  }

  void splice(std::string& bytes, size_t at, const std::string& other) {
    if (other.empty()) return;
    const size_t from = below(other.size());
    bytes.replace(at, below(32), other.substr(from, 1 + below(256)));
  }

  // A character many times over: brackets and indents nest as deep as that.
  void repeat(std::string& bytes, size_t at) { bytes.insert(at, std::string(1 + below(4096), bytes[at])); }

  uint64_t seed_, number_, draw_ = 0;
};

}  // namespace nibble::fuzz
