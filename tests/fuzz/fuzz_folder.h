// Files for readers that take paths: one folder a process, in memory where the system has such a place, gone at exit.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace nibble::fuzz {

class FuzzFolder {
 public:
  FuzzFolder() {
    const std::filesystem::path memory = "/dev/shm";
    const bool in_memory = std::filesystem::is_directory(memory);
    path_ = (in_memory ? memory : std::filesystem::temp_directory_path()) / ("nibble_fuzz_" + std::to_string(::getpid()));
    std::filesystem::create_directories(path_);
  }
  FuzzFolder(const FuzzFolder&) = delete;
  ~FuzzFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path put(const std::string& name, std::string_view bytes) const {
    std::filesystem::path file = path_ / name;
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return file;
  }

 private:
  std::filesystem::path path_;
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
