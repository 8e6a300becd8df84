// Which bytes of a rendered conversation are trained on. Spans come out of the rendering, never out of searching the text.
#pragma once

#include <vector>

#include "data/encode_row.h"

namespace nibble::data {

// Sorted, disjoint. By default every answer; of a row with a prompt, those of its completion; the last one where only that
// is wanted; everything without assistant_only_loss. A message's own flag (Message::train) goes before all of these.
std::vector<Span> trained_spans(const Rendering& rendering, const MessagesRow& row, const EncodeRules& rules);

// Whether the part behind a prompt is all that is trained on.
bool trains_on_completion_only(const EncodeRules& rules);

}  // namespace nibble::data
