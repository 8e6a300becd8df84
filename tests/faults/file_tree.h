// A folder as a value: what files it holds, with their bytes.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "tests/support/temporary_folder.h"

namespace nibble::faults {

using FileTree = std::map<std::string, std::string>;  // path below the folder -> bytes; a folder: path + "/" -> ""

inline FileTree file_tree(const std::filesystem::path& folder) {
  FileTree tree;
  if (!std::filesystem::exists(folder)) return tree;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder).string();
    if (entry.is_directory()) {
      tree[name + "/"] = "";
    } else {
      tree[name] = test::file_bytes(entry.path());
    }
  }
  return tree;
}

// The names of `found` that `expected` does not have.
inline std::string strays(const FileTree& found, const FileTree& expected) {
  std::string names;
  for (const auto& [name, bytes] : found) {
    if (expected.count(name) == 0) names += " " + name;
  }
  return names;
}

// The first name whose bytes differ or that only one of them has; "" where they are equal.
inline std::string first_difference(const FileTree& found, const FileTree& expected) {
  for (const auto& [name, bytes] : expected) {
    const auto it = found.find(name);
    if (it == found.end()) return name + " is missing";
    if (it->second != bytes) return name + " differs";
  }
  const std::string more = strays(found, expected);
  return more.empty() ? "" : "there are more:" + more;
}

}  // namespace nibble::faults
