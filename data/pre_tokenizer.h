// Cutting a text into the words that BPE merges stay inside: the pre-tokenizers of tokenizer.json.
//
// Source: huggingface/tokenizers, pre_tokenizers Split, Digits, ByteLevel, Metaspace, Sequence. What changes the text
// (a prefix space, spaces as U+2581) happens first, the cutting afterwards; a file that wants it in another order is
// refused when it is read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/normalizer.h"
#include "data/regex.h"

namespace nibble::data {

enum class SplitBehavior : uint8_t { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class PrependScheme : uint8_t { kAlways, kNever, kFirst };

// Cuts at the matches of a pattern.
struct SplitStep {
  Regex regex;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // the text between matches counts as the match
};

struct PreTokenizer {
  // Changes of the text, before any cut.
  bool add_prefix_space = false;        // ByteLevel
  bool metaspace = false;               // Metaspace: spaces become `replacement`, one is put in front
  std::string replacement = "\xE2\x96\x81";
  PrependScheme prepend_scheme = PrependScheme::kAlways;

  std::vector<SplitStep> splits;        // one after the other, each inside the pieces of the one before
};

// GPT-2's pattern, which ByteLevel applies with use_regex.
extern const char* const kGpt2Pattern;

// first: the text begins where the whole input begins (nothing, not even a special token, stands before it).
void prepare_text(const PreTokenizer& pre, TracedText& text, bool first);

// Appends the words of `text`, in order, without empty ones.
void split_words(const PreTokenizer& pre, std::string_view text, RegexScratch& scratch, std::vector<Span>& words);

}  // namespace nibble::data
