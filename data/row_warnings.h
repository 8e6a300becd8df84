// What is odd about an encoded row (RowWarning, sample.h): found here, told by load_dataset.
#pragma once

#include <span>

#include "data/conversation.h"
#include "data/rendering.h"
#include "data/sample.h"
#include "data/tokenizer.h"

namespace nibble::data {

// Drops the second of two BOS in front, of ids and of what belongs to each (labels or starts), and warns. Where BOS also
// ends or fills up texts (GPT-2) two of them mean something else and stay.
template <class Value>
void make_bos_single(const Tokenizer& tokenizer, std::vector<int32_t>& ids, std::vector<Value>& of_each, std::vector<RowWarning>& warnings) {
  const int32_t bos = tokenizer.bos_id();
  if (bos < 0 || ids.size() < 2 || ids[0] != bos || ids[1] != bos) return;
  if (!tokenizer.adds_bos() && (bos == tokenizer.eos_id() || bos == tokenizer.pad_id())) return;
  ids.erase(ids.begin());
  of_each.erase(of_each.begin());
  warnings.push_back({RowWarning::Kind::kDoubledBos, "begins with two BOS (one of the tokenizer's or template's, one of the text's own?): one is dropped"});
}

// The names of special tokens that stand in a row's own text.
void warn_of_special_text(const Tokenizer& tokenizer, std::span<const int32_t> refused, std::vector<RowWarning>& warnings);

// Messages with a text of which the template writes nothing.
void warn_of_left_out(const Rendering& rendering, const Conversation& conversation, std::vector<RowWarning>& warnings);

// The last trained token is neither special nor EOS.
void warn_of_no_end(const Tokenizer& tokenizer, Sample& sample);

// Pre-tokenized rows that say what is learned: EOS behind what is learned, but masked; else as warn_of_no_end.
void warn_of_labels(const Tokenizer& tokenizer, Sample& sample);

}  // namespace nibble::data
