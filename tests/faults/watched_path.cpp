#include "tests/faults/watched_path.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace nibble::faults {
namespace {

constexpr std::string_view kDeleted = " (deleted)";  // what the kernel appends to the name of a file that has none any more

// Keeps errno: what the layer looks up must not show.
class KeptErrno {
 public:
  KeptErrno() : value_(errno) {}
  ~KeptErrno() { errno = value_; }

 private:
  int value_;
};

}  // namespace

void Path::read_link(const char* link) {
  const ssize_t length = ::readlink(link, text_, sizeof(text_) - 1);
  text_[std::max<ssize_t>(0, length)] = '\0';
  if (text_[0] != '/') text_[0] = '\0';
}

Path Path::of_descriptor(int fd) {
  const KeptErrno kept;
  char link[64];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  Path path;
  path.read_link(link);
  const std::string_view text = path.text();
  if (text.ends_with(kDeleted)) path.text_[text.size() - kDeleted.size()] = '\0';
  return path;
}

Path Path::of_name(int folder, const char* name) {
  const KeptErrno kept;
  Path path;
  if (name == nullptr) return path;
  size_t length = 0;
  if (name[0] != '/') {
    if (folder == AT_FDCWD) {
      path.read_link("/proc/self/cwd");
    } else {
      path = of_descriptor(folder);
    }
    length = path.text().size();
    if (length == 0 || length + 2 > sizeof(path.text_)) return {};
    path.text_[length++] = '/';
  }
  const size_t more = std::strlen(name);
  if (length + more + 1 > sizeof(path.text_)) return {};
  std::memcpy(path.text_ + length, name, more + 1);
  length += more;
  while (length > 1 && path.text_[length - 1] == '/') path.text_[--length] = '\0';
  return path;
}

std::string Path::parent() const {
  const std::string_view all = text();
  const size_t slash = all.rfind('/');
  return std::string(all.substr(0, slash == std::string_view::npos ? 0 : std::max<size_t>(1, slash)));
}

bool Path::is_under(const std::vector<std::string>& folders) const {
  const std::string_view all = text();
  return std::any_of(folders.begin(), folders.end(), [&](const std::string& folder) {
    return all.starts_with(folder) && (all.size() == folder.size() || all[folder.size()] == '/');
  });
}

}  // namespace nibble::faults
