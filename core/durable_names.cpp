#include "core/durable_names.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

namespace nibble {
namespace fs = std::filesystem;

// Not every file system syncs folders (EINVAL), and not all of them can be written (EROFS): nothing new is there then.
void sync_folder(const fs::path& folder, std::error_code& error) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  if (::fsync(fd) != 0 && errno != EINVAL && errno != EROFS) error.assign(errno, std::generic_category());
  ::close(fd);
}

void make_folders(const fs::path& folder, std::error_code& error) {
  fs::path path = fs::absolute(folder, error);
  if (error) return;
  if (!path.has_filename()) path = path.parent_path();  // "out/" names the folder "out"
  std::vector<fs::path> parents;  // of what is not there yet
  std::error_code unknown;
  for (fs::path missing = path; missing.has_relative_path() && !fs::exists(missing, unknown); missing = missing.parent_path()) {
    parents.push_back(missing.parent_path());
  }
  fs::create_directories(path, error);
  for (const fs::path& parent : parents) {
    if (!error) sync_folder(parent, error);
  }
}

}  // namespace nibble
