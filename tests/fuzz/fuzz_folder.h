// Files for readers that take paths: one folder a process, in memory where the system has such a place, gone at exit.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>

#include "tests/support/temporary_folder.h"

namespace nibble::fuzz {

class FuzzFolder {
 public:
  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path put(const std::string& name, std::string_view bytes) const {
    test::put_file(folder_ / name, bytes);
    return folder_ / name;
  }

 private:
  test::TemporaryFolder folder_{test::in_memory()};
};

inline const FuzzFolder& folder() {
  static const FuzzFolder made;
  return made;
}

inline std::string_view text_of(const uint8_t* bytes, size_t size) { return {reinterpret_cast<const char*>(bytes), size}; }

// Takes the text up to the next NUL off `rest`: how an input holds several files.
inline std::string_view take_part(std::string_view& rest) {
  const size_t end = rest.find('\0');
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return part;
}

// A safetensors file of this header, its length made right.
inline std::string safetensors_of(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes.append(header).append(data);
}

// What an accepted input must never do: the fuzzer reports it as a crash with its stack.
inline void require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace nibble::fuzz
