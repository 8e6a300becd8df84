// Rows that come as token ids.
#pragma once

#include "data/row_schema.h"

namespace nibble::data {

// {"input_ids", "labels"?, "attention_mask"?}: ids inside the vocabulary; labels repeat the id or are -100 (nibble shifts
// them itself, and a shifted copy is the commonest mistake in such data); what the mask leaves out is gone.
// REQUIRES row has "input_ids". THROWS DataError naming the entry.
PretokenizedRow read_pretokenized(const Json& row, const RowPlace& place, int64_t vocab_size);

}  // namespace nibble::data
