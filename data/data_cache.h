// Prepared data, from the folder that keeps them or made now. The folder holds, for each key, KEY.tokens (data/cache_file.h) with its
// note of verification and its lock, and notes of the data files' hashes.
#pragma once

#include "data/cache_file.h"
#include "data/data_options.h"
#include "data/dataset_stats.h"
#include "data/tokenizer.h"

namespace nibble::data {

struct PreparedData {
  CacheFile cache;
  DatasetStats stats;  // without the counts of an epoch
};

// A folder that was named must be usable; the user's cache folder need not be, and a temporary file takes its place, which is said.
// THROWS what building throws; IoError.
PreparedData prepare_data(const DataOptions& options, const Tokenizer& tokenizer, const CacheOptions& cache);

// Where prepared data of these options are kept: empty where they are not.
std::filesystem::path data_cache_folder(const CacheOptions& cache);

}  // namespace nibble::data
