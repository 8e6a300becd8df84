// Added tokens: strings that are one token wherever they stand, found before anything else happens to the text.
//
// Source: huggingface/tokenizers, tokenizer/added_vocabulary.rs. Leftmost match, the longest of those; a rejected match
// (single_word) is stepped over whole; lstrip and rstrip swallow the white space beside the token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/regex.h"

namespace nibble::data {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;      // left out by decode(skip_special_tokens); plain text where specials are not parsed
  bool lstrip = false;
  bool rstrip = false;
  bool single_word = false;
  bool normalized = false;   // searched for in the normalized text
};

class AddedTokens {
 public:
  AddedTokens();

  // `pattern` is what is searched for: the content, normalized where the token says so. Empty patterns are ignored.
  void add(const AddedToken& token, const std::string& pattern);

  struct Part {
    Span span;
    int32_t id = -1;  // -1: ordinary text
  };
  // The text cut at the tokens, in order; ordinary parts are never empty. plain: sorted, disjoint ranges in which the names
  // of special tokens are text like any other, and which such a name may not reach into; `refused` gets the ids of those
  // that stand there. White space that a token swallows may lie in a plain range.
  void split(std::string_view text, std::span<const Span> plain, RegexScratch& scratch, std::vector<Part>& parts,
             std::vector<int32_t>& refused) const;

  bool empty() const { return tokens_.empty(); }

 private:
  struct Match {
    size_t end;
    size_t token;  // index in tokens_
  };
  // The longest token at this place; a special one only where it ends at or before special_end.
  std::optional<Match> match_at(std::string_view text, size_t at, size_t special_end) const;

  std::vector<AddedToken> tokens_;
  // A trie by bytes: (node << 8 | byte) -> node; what ends at a node.
  std::unordered_map<uint64_t, uint32_t> edges_;
  std::vector<int64_t> ends_ = {-1};
  bool begins_[256] = {};
  Regex word_;
};

}  // namespace nibble::data
