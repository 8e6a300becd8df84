// Documents with the same tokens and labels, by their 128-bit hashes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace nibble::data {

struct Repeats {
  int64_t count = 0;                  // documents that an earlier one equals
  std::vector<DuplicatePair> first;   // the first few
};
Repeats find_duplicates(std::span<const DocumentRecord> records);

struct SharedDocuments {
  int64_t count = 0;                  // different documents of the second that are in the first too
  std::vector<std::string> places;    // "FILE:LINE is FILE:LINE", the second's document first; the first few
};
// What validation has in common with training: its loss on these says nothing about text that the model has not seen.
SharedDocuments find_shared(const Dataset& train, const Dataset& validation);

}  // namespace nibble::data
