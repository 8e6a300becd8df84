// Token ids as text that a person can read: pieces that join up to the decoded document.
//
// A character may be spread over several byte-level tokens; such tokens share one piece, so that every piece is whole
// UTF-8. A decoder may treat the beginning of a text in a way of its own (SentencePiece drops its first space), so each
// piece is decoded behind the one before it. Bytes that are no characters read U+FFFD, one or more.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/sample.h"
#include "data/tokenizer.h"

namespace nibble::trainer {

struct TokenPiece {
  int64_t first = 0, count = 0;  // tokens of the document
  std::string text;              // as decoded, special tokens included
  bool trained = false;          // the first token's label counts; the first token of a document never does
  bool special = false;
};

// Pieces of one document, in order. THROWS DataError where an id is outside the vocabulary.
std::vector<TokenPiece> token_pieces(std::span<const int32_t> ids, std::span<const int32_t> labels, const data::Tokenizer& tokenizer);

// Neighbouring pieces that are all trained on, or all not.
struct TokenRun {
  bool trained = false;
  std::vector<TokenPiece> pieces;
  std::string text() const;
};
std::vector<TokenRun> token_runs(std::vector<TokenPiece> pieces);

// Control characters other than line break and tab written as \xNN: what a row says cannot steer the terminal.
std::string visible_text(const std::string& text);

}  // namespace nibble::trainer
