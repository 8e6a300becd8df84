// What a tokenizer file says, read and checked, before anything is built from it. tokenizer_json.cpp, gguf_vocab.cpp and
// hf_folder.cpp fill it; tokenizer.cpp builds the Tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/added_tokens.h"
#include "data/bpe.h"
#include "data/normalizer.h"
#include "data/pre_tokenizer.h"

namespace nibble::data {

class JsonView;

// Ids are below this, which is far above any published vocabulary: a damaged id must not make a huge table.
inline constexpr int64_t kMaxVocab = int64_t{1} << 24;

struct DecoderStep {
  enum class Kind : uint8_t { kByteLevel, kReplace, kByteFallback, kFuse, kStrip, kMetaspace } kind = Kind::kFuse;
  std::string pattern;        // kReplace; kMetaspace: the replacement
  std::string content;        // kReplace, kStrip
  int64_t start = 0;          // kStrip: how many at most from the left
  int64_t stop = 0;           //         and from the right
  bool strip_first = false;   // kMetaspace: the first token loses its prefix
};

struct TokenizerSpec {
  std::string path;                   // the file, for messages
  std::vector<std::string> tokens;    // by id, as the file writes them; "" where an id is not given
  std::vector<AddedToken> added;
  std::vector<NormalizerStep> normalizer;
  PreTokenizer pre_tokenizer;
  std::vector<DecoderStep> decoder;

  // BPE
  BpeModel bpe;
  // SentencePiece: the serialized model; empty: BPE.
  std::string sentencepiece_model;

  // What add_special_tokens puts around a text.
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;

  int32_t bos_id = -1;   // -1: none
  int32_t eos_id = -1;
  int32_t pad_id = -1;
  int32_t unk_id = -1;
  std::string chat_template;  // Jinja text; "": none
  std::string hash;           // XXH3-128 of the file, or of what GGUF holds of it

  // The id of a token by its text, added ones first; -1: none. Linear: for loading.
  int32_t find(std::string_view text) const;
};

// The file of this name in a model folder; empty where there is none. THROWS FormatError where it is a link that leads out.
std::filesystem::path find_in_folder(const std::filesystem::path& folder, const char* name);

// tokenizer.json of a byte-level or byte-fallback BPE. THROWS FormatError naming what is not supported.
TokenizerSpec read_tokenizer_json(const std::filesystem::path& path);

// tokenizer.model, a serialized SentencePiece model.
TokenizerSpec read_sentencepiece_model(const std::filesystem::path& path);

// Adds what lies beside a tokenizer file: special ids, chat template, further added tokens.
// tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja; all optional.
void read_tokenizer_config(const std::filesystem::path& folder, TokenizerSpec& spec);

// {"content": "<s>", "special": true, ...}, as tokenizer.json and tokenizer_config.json write it.
AddedToken read_added_token(const JsonView& view, int64_t id);

// Gives token `token.id` its place in spec.tokens and spec.added. THROWS FormatError where the id is out of bounds.
void place_added_token(TokenizerSpec& spec, const AddedToken& token);

// The chat template of a Hugging Face folder: chat_template.jinja, else that of tokenizer_config.json, else that of
// chat_template.json; "": none. THROWS IoError, FormatError.
std::string read_folder_template(const std::filesystem::path& folder);

}  // namespace nibble::data
