// The packed cache: a base as it is trained on (4-bit linears, the rest in the compute dtype), written once to a file that
// later runs map instead of reading and quantizing the base again, and that a streamed base streams from.
//
// One file a base and recipe, in one folder. Its name and its header hold a key of what it was made from: the base's
// fingerprint, size and time of change of each of its files, the recipe, and the format's version. A file whose header or
// any of whose checksums is not as expected is never used: it is said, and made again. The checksums are compared when a file is
// met for the first time and whenever the file system says that it changed since (core/verified_stamp.h). A new file gets its name
// when it is complete, so nobody reads half of one; a lock lets one process write while others that want the same file wait.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "io/packed_layout.h"
#include "io/packed_source.h"

namespace nibble::io {

struct PackedCacheOptions {
  std::filesystem::path folder;                  // created where it is missing
  bool build = true;                             // false: take what is there
  std::function<void(const std::string&)> say;   // one line for people; may be empty
  std::function<void()> each;                    // called with every weight packed and while waiting; may throw to stop
};

// $XDG_CACHE_HOME/nibble, else ~/.cache/nibble. THROWS ConfigError where neither variable says where that is.
std::filesystem::path default_packed_cache_folder();

// Whether a base would be packed at all: not where the files hold its linears in 4 bits already.
bool can_be_packed(const WeightSource& base);

std::string packed_cache_key(const WeightSource& base, const PackedRecipe& recipe);  // 32 hex digits
std::filesystem::path packed_cache_file(const std::filesystem::path& folder, const WeightSource& base, const std::string& key);

// The base's cache: opened and verified where it has to be, or made first. Null where there is none and options.build is false. REQUIRES base
// outlives the result. THROWS IoError where it cannot be written (a full disk before anything is); what reading the base throws.
std::unique_ptr<PackedSource> open_packed_cache(const WeightSource& base, const PackedRecipe& recipe, const PackedCacheOptions& options);

}  // namespace nibble::io
