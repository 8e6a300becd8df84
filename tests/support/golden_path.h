// Where the golden files are.
#pragma once

#include <filesystem>
#include <string>

namespace nibble::test {

// relative: path below tests/golden, "models/llama".
inline std::string golden_path(const std::string& relative) {
  return (std::filesystem::path(NIBBLE_GOLDEN_DIR) / relative).string();
}

}  // namespace nibble::test
