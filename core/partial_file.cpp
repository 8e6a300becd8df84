#include "core/partial_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <system_error>
#include <vector>

#include "core/error.h"

namespace nibble {
namespace fs = std::filesystem;
namespace {

std::string partial_prefix(const fs::path& final_path) { return fmt::format(".{}.", final_path.filename().string()); }

}  // namespace

PartialFile::PartialFile(fs::path final_path) : final_(std::move(final_path)) {
  static std::atomic<int64_t> made = 0;  // threads of one process may write the same file
  partial_ = final_.parent_path() / fmt::format("{}{}-{}{}", partial_prefix(final_), ::getpid(), ++made, kPartialSuffix);
}

PartialFile::~PartialFile() {
  std::error_code ignored;
  if (!committed_) fs::remove(partial_, ignored);
}

void PartialFile::commit() {
  std::error_code error;
  fs::rename(partial_, final_, error);
  if (error) throw IoError("cannot give the file its name", final_.string(), error.value());
  committed_ = true;
}

void PartialFile::remove_leftovers(const fs::path& final_path) {
  const std::string prefix = partial_prefix(final_path);
  std::vector<fs::path> leftovers;
  std::error_code ignored;
  for (fs::directory_iterator entry(final_path.parent_path(), ignored), end; entry != end; entry.increment(ignored)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(kPartialSuffix)) leftovers.push_back(entry->path());
    if (ignored) break;
  }
  for (const fs::path& leftover : leftovers) fs::remove(leftover, ignored);
}

}  // namespace nibble
