// Words seen before and their tokens. Natural text repeats its words: nine of ten come from here.
//
// Direct-mapped by hash; a newcomer takes the place of what was there, so that memory is bounded (about 5 MiB) and no
// text can make the lookup slow. Not thread-safe: each call borrows one of its own.
#pragma once

#include <xxhash.h>

#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "data/bpe.h"

namespace nibble::data {

class WordCache {
 public:
  // The tokens of `word`; make(out) is called where they are not known. Valid until the next call.
  template <class Make>
  std::span<const Token> find_or_make(std::string_view word, const Make& make) {
    if (word.size() > kMaxBytes) {
      made_.clear();
      make(made_);
      return made_;
    }
    if (entries_.empty()) entries_.resize(kEntries);
    Entry& entry = entries_[XXH3_64bits(word.data(), word.size()) & (kEntries - 1)];
    if (entry.bytes == word.size() && std::memcmp(entry.word, word.data(), word.size()) == 0) {
      return {entry.tokens, entry.count};
    }
    made_.clear();
    make(made_);
    if (made_.size() <= kMaxTokens) {
      entry.bytes = static_cast<uint8_t>(word.size());
      entry.count = static_cast<uint8_t>(made_.size());
      std::memcpy(entry.word, word.data(), word.size());
      std::copy(made_.begin(), made_.end(), entry.tokens);
    }
    return made_;
  }

 private:
  static constexpr size_t kEntries = size_t{1} << 16;
  static constexpr size_t kMaxBytes = 22;
  static constexpr size_t kMaxTokens = 7;
  struct Entry {
    uint8_t bytes = 0;  // 0: empty; words are not
    uint8_t count = 0;
    char word[kMaxBytes];
    Token tokens[kMaxTokens];
  };
  std::vector<Entry> entries_;
  std::vector<Token> made_;
};

}  // namespace nibble::data
