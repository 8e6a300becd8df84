// An amount of memory as people write it: 5.7GiB, 6GB, 800MiB, or a plain number of GiB.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nibble::schema {

// 0 stands for "auto": as much as there is.
struct ByteSize {
  int64_t bytes = 0;
  bool operator==(const ByteSize&) const = default;
};

// "auto", or a number with KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB, TB (powers of 1000) or B; without a unit, GiB.
// nullopt: none of these, not above 0, or more than 2^53 bytes.
std::optional<ByteSize> parse_byte_size(std::string_view text);

// The shortest of these that reads back as the same bytes.
std::string byte_size_text(ByteSize size);

}  // namespace nibble::schema
