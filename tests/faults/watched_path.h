// Paths of file operations as a preload library meets them: by name, by name below an open folder, or by descriptor.
//
// No memory is allocated for a call that is none of ours: write() may come from a signal handler.
#pragma once

#include <climits>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::faults {

// An absolute path in a buffer of its own; "" where there is none (a pipe, a path that is too long).
class Path {
 public:
  Path() { text_[0] = '\0'; }
  // Of an open file or folder, through /proc/self/fd. A file that lost its name has the one that it had.
  static Path of_descriptor(int fd);
  // Of a name as the system call takes it; folder: AT_FDCWD or an open folder.
  static Path of_name(int folder, const char* name);

  std::string_view text() const { return text_; }
  const char* c_str() const { return text_; }
  std::string parent() const;
  // Whether it is one of the folders, or lies in one.
  bool is_under(const std::vector<std::string>& folders) const;

 private:
  void read_link(const char* link);

  char text_[PATH_MAX];
};

}  // namespace nibble::faults
