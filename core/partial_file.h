// A file that is not there until it is whole: it is written beside its place under another name and renamed when it is complete,
// so that nobody reads half of one. StagedFolder (core/file.h) does the same for folders.
#pragma once

#include <filesystem>
#include <string_view>

namespace nibble {

// How the name of everything ends that is not whole yet; it begins with a dot. What of that is left is nobody's, and goes.
inline constexpr std::string_view kPartialSuffix = ".partial";

class PartialFile {
 public:
  // Makes no file yet: write one at path().
  explicit PartialFile(std::filesystem::path final_path);
  PartialFile(const PartialFile&) = delete;
  ~PartialFile();  // removes what was written, unless commit() gave it its name

  const std::filesystem::path& path() const { return partial_; }  // FOLDER/.NAME.PID-N.partial, another one for each object
  void commit();  // renames over what is there. THROWS IoError

  // Removes what processes that were killed left beside `final_path`. REQUIRES that nobody else is writing it (a lock).
  static void remove_leftovers(const std::filesystem::path& final_path);

 private:
  std::filesystem::path final_, partial_;
  bool committed_ = false;
};

}  // namespace nibble
