#include "io/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/file.h"

namespace nibble::io {

void Fingerprint::add(std::string_view text) { hashed_ += fmt::format("{} {}\n", text.size(), xxh3_128(text)); }

void Fingerprint::add_file(std::string_view name, std::span<const std::byte> bytes, size_t header_bytes) {
  add(name);
  add(fmt::format("{}", bytes.size()));
  const auto text_of = [](std::span<const std::byte> part) {
    return std::string_view(reinterpret_cast<const char*>(part.data()), part.size());
  };
  add(text_of(bytes.first(std::min(header_bytes, bytes.size()))));
  const auto rest = bytes.subspan(std::min(header_bytes, bytes.size()));
  for (size_t i = 0; i < kSamples; ++i) {
    const size_t begin = rest.size() / kSamples * i;
    add(text_of(rest.subspan(begin, std::min(kSampleBytes, rest.size() - begin))));
  }
}

std::string Fingerprint::text() const { return xxh3_128(hashed_); }

}  // namespace nibble::io
