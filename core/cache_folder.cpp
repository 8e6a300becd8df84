#include "core/cache_folder.h"

#include <cstdlib>

namespace nibble {

std::filesystem::path user_cache_folder() {
  namespace fs = std::filesystem;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') return fs::path(cache) / "nibble";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return fs::path(home) / ".cache" / "nibble";
  return {};
}

}  // namespace nibble
