// A SentencePiece model (BPE or unigram) through the sentencepiece library.
//
// The only place that sees the library. GGUF keeps the pieces without the container: write_sentencepiece_model makes
// one (protocol buffers, sentencepiece_model.proto of google/sentencepiece), so that one code path serves both.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/bpe.h"

namespace nibble::data {

enum class PieceType : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Piece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

class SentencePieceModel {
 public:
  // THROWS FormatError naming `path` where the bytes are not a model.
  SentencePieceModel(std::string_view serialized, const std::string& path);
  ~SentencePieceModel();

  // Appends the tokens of a text, control pieces never among them. Thread-safe. REQUIRES valid UTF-8.
  void encode(std::string_view text, std::vector<Token>& out) const;

  std::vector<Piece> pieces() const;
  int32_t bos_id() const;
  int32_t eos_id() const;
  int32_t pad_id() const;
  int32_t unk_id() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A serialized BPE model of these pieces: no character normalization, spaces kept, byte fallback where there are byte
// pieces.
std::string write_sentencepiece_model(const std::vector<Piece>& pieces, bool add_space_prefix);

}  // namespace nibble::data
