// From data files to a cache file, in one pass: rows stream through several threads, and what they become is appended in order. At
// most some blocks of rows are in memory, and of the documents their records while rows are packed.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/data_options.h"
#include "data/tokenizer.h"

namespace nibble::data {

// Writes `path` and, while it works, a partial file of records beside it. `each` may throw to stop.
// THROWS DataError (file:line and field), ConfigError (no template fits, no EOS), IoError.
void build_cache(const std::filesystem::path& path, const std::string& key, const std::vector<std::string>& file_hashes, const DataOptions& options,
                 const Tokenizer& tokenizer, const std::function<void()>& each);

}  // namespace nibble::data
