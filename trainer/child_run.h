// Another run of this same binary, as a process of its own: it ends when this one ends, however that is.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace nibble::trainer {

class ChildRun {
 public:
  // Starts `nibble ARGUMENTS...`, with its standard output and error in these files. THROWS IoError
  ChildRun(const std::vector<std::string>& arguments, const std::filesystem::path& out, const std::filesystem::path& err);
  ChildRun(const ChildRun&) = delete;
  ~ChildRun();  // kills it where it still runs

  bool running();
  // Of one that has ended: its exit code, or 128 + the number of the signal that ended it.
  int exit_code() const { return exit_code_; }

 private:
  pid_t pid_ = -1;
  int exit_code_ = -1;
};

}  // namespace nibble::trainer
