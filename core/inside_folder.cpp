#include "core/inside_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <system_error>

#include "core/error.h"

namespace nibble {
namespace fs = std::filesystem;
namespace {

// .../models--org--name/blobs/0123abcd
bool is_hub_blob(const fs::path& target) {
  const fs::path blobs = target.parent_path();
  return blobs.filename() == "blobs" && blobs.parent_path().filename().string().starts_with("models--");
}

}  // namespace

fs::path leads_out_of(const fs::path& folder, const fs::path& file) {
  std::error_code error;
  const fs::path target = fs::canonical(file, error);
  if (error) return {};  // not there, or a link to nothing: opening it says so
  const fs::path root = fs::canonical(folder, error);
  if (error) return {};
  const auto [end, at] = std::mismatch(root.begin(), root.end(), target.begin(), target.end());
  if (end == root.end() || is_hub_blob(target)) return {};
  return target;
}

void expect_inside(const fs::path& folder, const fs::path& file) {
  const fs::path target = leads_out_of(folder, file);
  if (target.empty()) return;
  throw FormatError(fmt::format("it is a link to {}, outside of its folder {}; where that is meant, put the file itself there, or name "
                                "the folder that it lies in", target.string(), folder.string()), file.string());
}

}  // namespace nibble
