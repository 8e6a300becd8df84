// A row's content as token ids with labels.
//
// A rendered conversation is tokenized as one text. What came out of the row is read as characters (split_special_tokens), so
// that nobody can write an end of turn into a message; what the template wrote is read with its special tokens. Text rows, prompt and
// completion, and segments are the user's own markup: the names of special tokens in them mean the tokens.
#pragma once

#include <optional>

#include "data/row_schema.h"
#include "data/sample.h"
#include "data/template.h"
#include "data/tokenizer.h"

namespace nibble::data {

struct EncodeRules {
  std::optional<Template> chat;          // set where rows are rendered (needs_template)
  bool assistant_only_loss = true;       // false: every token is trained on
  bool train_on_last_turn_only = false;  // of the answers of a conversation the last one; a message's own flag goes first
  AutoSwitch completion_only_loss = AutoSwitch::kAuto;  // of prompt-completion rows; auto: as assistant_only_loss
  bool split_special_tokens = true;      // names of special tokens in messages are characters; false: they mean the tokens
};

// A token is trained on if its first byte lies in a trained part (data/trained_spans.h). Text, and prompt and completion,
// get what the tokenizer puts in front (BOS) and EOS behind; segments get nothing: they say all themselves. Two BOS in
// front are made one. The sample's warnings say what is odd (sample.h).
// THROWS ConfigError where the tokenizer has no EOS to end a text with, or completion_only_loss: true meets rows without a
// completion; DataError without a place.
Sample encode_row(const RowContent& row, const EncodeRules& rules, const Tokenizer& tokenizer);

}  // namespace nibble::data
