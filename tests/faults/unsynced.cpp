#include "tests/faults/unsynced.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "tests/faults/raw_calls.h"

namespace nibble::faults {
namespace {

std::pair<dev_t, ino_t> id_of(const struct stat& status) { return {status.st_dev, status.st_ino}; }

void remove_tree(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return;
  if (!S_ISDIR(status.st_mode)) {
    raw::unlink(path.c_str());
    return;
  }
  if (DIR* folder = ::opendir(path.c_str())) {
    while (const dirent* entry = ::readdir(folder)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") remove_tree(path + "/" + std::string(name));
    }
    ::closedir(folder);
  }
  raw::rmdir(path.c_str());
}

}  // namespace

void Unsynced::before_write(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || dirty_.count(id_of(status)) != 0) return;
  char own[64];
  std::snprintf(own, sizeof(own), "/proc/self/fd/%d", fd);
  dirty_[id_of(status)] = {raw::open(own, O_WRONLY), status.st_size};
}

void Unsynced::synced(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return;
  const Id id = id_of(status);
  if (const auto found = dirty_.find(id); found != dirty_.end()) {
    ::close(found->second.fd);
    dirty_.erase(found);
  }
  for (Change& change : changes_) std::erase(change.folders, id);
  std::erase_if(changes_, [](const Change& change) { return change.folders.empty(); });
}

void Unsynced::add(Kind kind, const Path& name, const Path& from, const std::string& kept) {
  Change change{kind, std::string(name.text()), std::string(from.text()), kept, {}};
  for (const Path* path : {&name, &from}) {
    struct stat status {};
    if (path->text().empty() || ::stat(path->parent().c_str(), &status) != 0) continue;
    if (std::find(change.folders.begin(), change.folders.end(), id_of(status)) == change.folders.end()) change.folders.push_back(id_of(status));
  }
  changes_.push_back(std::move(change));
}

void Unsynced::made(const Path& name, bool folder) { add(folder ? Kind::kMadeFolder : Kind::kMadeFile, name, {}, ""); }

std::string Unsynced::keep(const Path& name) {
  if (raw::open(name.c_str(), O_RDONLY | O_DIRECTORY) >= 0) return "";
  const std::string kept = aside_ + "/" + std::to_string(::getpid()) + "-" + std::to_string(++kept_);
  return raw::link(name.c_str(), kept.c_str()) == 0 ? kept : "";
}

void Unsynced::gone(const Path& name, const std::string& kept, bool folder) { add(folder ? Kind::kGoneFolder : Kind::kGoneFile, name, {}, kept); }

void Unsynced::renamed(const Path& from, const Path& to, const std::string& kept, bool exchanged) {
  add(exchanged ? Kind::kExchanged : Kind::kRenamed, to, from, kept);
}

void Unsynced::lose_bytes(bool zeros) {
  for (const auto& [id, file] : dirty_) {
    struct stat status {};
    if (file.fd < 0 || ::fstat(file.fd, &status) != 0 || status.st_size <= file.durable_bytes) continue;
    raw::truncate(file.fd, file.durable_bytes);
    if (zeros) raw::truncate(file.fd, status.st_size);  // a hole reads as zeros
  }
}

void Unsynced::lose_names(bool also_removals) {
  for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
    const bool removal = change->kind == Kind::kGoneFile || change->kind == Kind::kGoneFolder;
    if (also_removals || !removal) undo(*change);
  }
  changes_.clear();
}

void Unsynced::undo(const Change& change) const {
  const char* name = change.name.c_str();
  switch (change.kind) {
    case Kind::kMadeFile:
    case Kind::kMadeFolder: remove_tree(change.name); break;
    case Kind::kGoneFile: raw::link(change.kept.c_str(), name); break;
    case Kind::kGoneFolder: raw::mkdir(name); break;
    case Kind::kExchanged: raw::rename(name, change.from.c_str(), RENAME_EXCHANGE); break;
    case Kind::kRenamed:
      raw::rename(name, change.from.c_str(), 0);
      if (!change.kept.empty()) raw::link(change.kept.c_str(), name);
      break;
  }
}

}  // namespace nibble::faults
