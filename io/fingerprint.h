// A cheap fingerprint of large files: their headers in full, and samples of the rest.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace nibble::io {

class Fingerprint {
 public:
  void add(std::string_view text);
  // The first `header_bytes` of a file in full, and from the rest kSamples pieces evenly spread.
  void add_file(std::string_view name, std::span<const std::byte> bytes, size_t header_bytes);
  std::string text() const;  // 32 hex digits

 private:
  static constexpr size_t kSamples = 64;
  static constexpr size_t kSampleBytes = 1024;
  std::string hashed_;  // the digests of what was added
};

}  // namespace nibble::io
