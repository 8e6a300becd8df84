// The order of an epoch's rows: f(seed, epoch) and the rows' lengths, without any state.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"

namespace nibble::data {

// Rows of the dataset in the order of this epoch. shuffle false: as they are, in every epoch. group_rows > 0: rows of similar length
// come together, as transformers' LengthGroupedSampler arranges them: the shuffled rows are cut into stretches of up to 50 groups of
// so many rows, each is sorted from long to short, and the longest row of all comes first, so that what does not fit fails at once.
// REQUIRES group_rows 0 without shuffle.
std::vector<int64_t> epoch_order(const Dataset& dataset, uint64_t seed, int64_t epoch, bool shuffle, int64_t group_rows);

}  // namespace nibble::data
