// A row's content as token ids with labels.
#pragma once

#include <optional>

#include "data/row_schema.h"
#include "data/sample.h"
#include "data/template.h"
#include "data/tokenizer.h"

namespace nibble::data {

struct EncodeRules {
  std::optional<Template> chat;     // set where the schema has conversations
  bool assistant_only_loss = true;  // false: every token is trained on
};

// Whether rows of this schema are rendered by a chat template.
bool needs_template(RowSchema schema);

// Conversations and alpaca rows: the rendering, tokenized as one text; a token is trained on if its first byte lies in an
// answer. Prompt and completion: one text and EOS, trained from the first token that begins in the completion. Text: the
// text with what the tokenizer puts in front (BOS), and EOS; every token trained on. A doubled BOS is made single.
// THROWS ConfigError where the tokenizer has no EOS to end a text with; DataError.
Sample encode_row(const RowContent& row, const EncodeRules& rules, const Tokenizer& tokenizer);

}  // namespace nibble::data
