// Text to token ids and back, exactly as the model's own tokenizer does it.
//
// Kinds: byte-level BPE and byte-fallback BPE from tokenizer.json, SentencePiece from tokenizer.model (through the
// sentencepiece library), and both from GGUF metadata. A kind that is not known is refused by name when it is loaded:
// an approximate tokenizer trains a wrong model without saying so.
//
// A Tokenizer is immutable; every method is thread-safe. Words seen before are answered from a cache that each call
// borrows from a pool, so threads do not wait for each other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/gguf_vocab.h"
#include "data/regex.h"

namespace nibble::data {

// What the name of a special token written in a text means.
enum class SpecialText : uint8_t {
  kParse,   // the special token
  kPlain,   // characters like any other
};

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<uint32_t> starts;  // [ids] byte offset in the text of each token's first byte; never decreases
  std::vector<int32_t> refused;  // special tokens whose names stand where they are plain text, in order
};

class Tokenizer {
 public:
  // A Hugging Face model folder: tokenizer.json, else tokenizer.model, with tokenizer_config.json beside it.
  // THROWS IoError where neither file is there, FormatError where one cannot be used.
  static Tokenizer from_folder(const std::filesystem::path& folder);
  static Tokenizer from_gguf(const GgufVocab& vocab);

  // add_special_tokens: what the tokenizer puts around a text (BOS for most). Ill-formed UTF-8 is read as U+FFFD.
  // THROWS DataError where a text is 2 GiB or longer.
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens, SpecialText special = SpecialText::kParse) const;
  Encoding encode_with_starts(std::string_view text, bool add_special_tokens, SpecialText special = SpecialText::kParse) const;
  // plain: sorted, disjoint byte ranges (what a user wrote, in a text that a template made) in which names of special tokens
  // are characters like any other. Where no such name stands in them, the ids are those of kParse.
  // REQUIRES valid UTF-8, checked: DataError.
  Encoding encode_with_starts(std::string_view text, bool add_special_tokens, std::span<const Span> plain) const;

  // Ill-formed UTF-8 in the result (a character cut in half) is written as U+FFFD.
  // THROWS DataError where an id is outside the vocabulary.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  int64_t vocab_size() const;              // one more than the largest id
  int32_t bos_id() const;                  // -1: the tokenizer has none
  int32_t eos_id() const;
  int32_t pad_id() const;
  int32_t unk_id() const;
  bool adds_bos() const;                   // add_special_tokens puts BOS in front
  bool is_special(int32_t id) const;
  int32_t token_id(std::string_view token) const;   // -1: no such token. Looks through all of them
  const std::string& token(int32_t id) const;       // as the vocabulary writes it. THROWS DataError: outside
  const std::string& chat_template() const;         // the model's own Jinja text; "": none
  std::string hash() const;  // 32 hex digits of everything that decides the ids: for checkpoints and caches

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nibble::data
