// The family of errors. Thrown where the cause is known, caught once in main, which prints the message and exits with
// the error's code. A message says what is wrong, where (file:line or byte offset), what was found and what to do.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace nibble {

// Exit codes are a contract with scripts.
enum class ExitCode : int {
  kOk = 0,
  kRunFailed = 1,
  kUsage = 2,          // command line or configuration
  kData = 3,
  kOutOfMemory = 4,
  kDamagedFile = 5,    // checkpoint or model file
  kInterrupted = 75,   // a resumable checkpoint was saved
};

// Where in the user's files an error was found. Zero or -1: does not apply.
struct Place {
  std::string file;
  int64_t line = 0;         // 1-based
  int64_t column = 0;       // 1-based
  int64_t byte_offset = -1;

  std::string text() const;  // "file:line:column", "file (byte 123)" or ""
};

class Error : public std::runtime_error {
 public:
  Error(const char* name, ExitCode code, Place place, const std::string& message);

  const char* name() const { return name_; }       // class, as printed by --json
  ExitCode exit_code() const { return code_; }
  const Place& place() const { return place_; }
  const std::string& message() const { return message_; }  // without the place; what() has both

 private:
  const char* name_;
  ExitCode code_;
  Place place_;
  std::string message_;
};

// Command line or configuration.
struct ConfigError : Error {
  explicit ConfigError(const std::string& message, Place place = {})
      : Error("ConfigError", ExitCode::kUsage, std::move(place), message) {}
};

// A dataset or one of its rows.
struct DataError : Error {
  explicit DataError(const std::string& message, Place place = {})
      : Error("DataError", ExitCode::kData, std::move(place), message) {}
};

// The operating system refused a file operation.
struct IoError : Error {
  // errno_value 0: no operating-system reason to add.
  IoError(const std::string& message, const std::string& path, int errno_value = 0);
};

// A model file, adapter, tokenizer file or checkpoint whose bytes are not what its format says.
struct FormatError : Error {
  explicit FormatError(const std::string& message, const std::string& path, int64_t byte_offset = -1)
      : Error("FormatError", ExitCode::kDamagedFile, Place{path, 0, 0, byte_offset}, message) {}
  FormatError(const std::string& message, Place place)  // a text whose lines count (a chat template)
      : Error("FormatError", ExitCode::kDamagedFile, std::move(place), message) {}
};

struct OutOfMemoryError : Error {
  explicit OutOfMemoryError(const std::string& message)
      : Error("OutOfMemoryError", ExitCode::kOutOfMemory, {}, message) {}
};

// Training itself went wrong: a loss that is not finite, for one.
struct RunError : Error {
  explicit RunError(const std::string& message) : Error("RunError", ExitCode::kRunFailed, {}, message) {}
};

struct CudaError : Error {
  explicit CudaError(const std::string& message) : Error("CudaError", ExitCode::kRunFailed, {}, message) {}
};

// The run stopped on request after saving a resumable checkpoint.
struct Interrupted : Error {
  explicit Interrupted(const std::string& message) : Error("Interrupted", ExitCode::kInterrupted, {}, message) {}
};

}  // namespace nibble
