// Where a user's caches are: files that can be made again, by the XDG base directory specification.
#pragma once

#include <filesystem>

namespace nibble {

// $XDG_CACHE_HOME/nibble, else ~/.cache/nibble; empty where neither variable says where that is.
std::filesystem::path user_cache_folder();

}  // namespace nibble
