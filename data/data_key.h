// What prepared data are of: the content of the data files, the tokenizer, and every option that decides the result.
#pragma once

#include <string>
#include <vector>

#include "data/data_options.h"
#include "data/tokenizer.h"

namespace nibble::data {

// XXH3-128 of each file's bytes, 32 hex digits. With `stamps`, a folder: what was found is noted there and taken from there for as
// long as the file system says that the file did not change (size, inode, times of change, to the nanosecond). Calls `each` between
// files. THROWS IoError, DataError where one is a folder.
std::vector<std::string> data_file_hashes(const std::vector<std::filesystem::path>& files, const std::filesystem::path& stamps,
                                          const std::function<void()>& each = {});

// 32 hex digits.
std::string data_key(const DataOptions& options, const std::vector<std::string>& file_hashes, const Tokenizer& tokenizer);

}  // namespace nibble::data
