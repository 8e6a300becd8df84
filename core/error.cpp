#include "core/error.h"

#include <fmt/format.h>

#include <cstring>

namespace nibble {

std::string Place::text() const {
  if (file.empty()) return "";
  if (line > 0 && column > 0) return fmt::format("{}:{}:{}", file, line, column);
  if (line > 0) return fmt::format("{}:{}", file, line);
  if (byte_offset >= 0) return fmt::format("{} (byte {})", file, byte_offset);
  return file;
}

static std::string with_place(const Place& place, const std::string& message) {
  const std::string where = place.text();
  return where.empty() ? message : where + ": " + message;
}

Error::Error(const char* name, ExitCode code, Place place, const std::string& message)
    : std::runtime_error(with_place(place, message)),
      name_(name),
      code_(code),
      place_(std::move(place)),
      message_(message) {}

IoError::IoError(const std::string& message, const std::string& path, int errno_value)
    : Error("IoError", ExitCode::kRunFailed, Place{path, 0, 0, -1},
            errno_value == 0 ? message : fmt::format("{}: {}", message, std::strerror(errno_value))) {}

}  // namespace nibble
