// From data files to a dataset: taken from its cache where there is one, else prepared and kept there.
//
// One cache file a key (data/data_key.h) in one folder, KEY.tokens. A file that cannot be proved right is never used: it is said,
// and made again. It gets its name when it is complete, and a lock lets one process prepare while others that want the same wait.
// What nobody used for a month goes from the user's cache folder when something new is put there.
#pragma once

#include "data/data_options.h"
#include "data/dataset.h"
#include "data/tokenizer.h"

namespace nibble::data {

struct DatasetParts {
  Dataset train, validation;  // validation has no rows without validation_split_ratio
};

// THROWS DataError (file:line and field; also for a bad row more than max_bad_rows), ConfigError (no template fits, no EOS, weights that
// do not fit the files), IoError, what `cache.each` throws.
DatasetParts load_dataset_parts(const DataOptions& options, const Tokenizer& tokenizer, const CacheOptions& cache = {});

// The training part: all there is without validation_split_ratio.
Dataset load_dataset(const DataOptions& options, const Tokenizer& tokenizer, const CacheOptions& cache = {});

}  // namespace nibble::data
