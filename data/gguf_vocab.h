// A tokenizer as GGUF stores it (keys tokenizer.ggml.*), filled by the GGUF reader, which this folder does not know.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace nibble::data {

struct GgufVocab {
  std::string path;                     // the GGUF file, for messages
  std::string model;                    // tokenizer.ggml.model: "gpt2" (byte-level BPE) or "llama" (SentencePiece)
  std::string pre;                      // tokenizer.ggml.pre: names the pre-tokenizer of a gpt2 model; may be ""
  std::vector<std::string> tokens;      // tokenizer.ggml.tokens
  std::vector<float> scores;            // tokenizer.ggml.scores: llama only
  std::vector<int32_t> token_types;     // tokenizer.ggml.token_type: 1 normal, 2 unknown, 3 control, 4 user defined,
                                        // 5 unused, 6 byte; may be empty for gpt2
  std::vector<std::string> merges;      // tokenizer.ggml.merges: "left right", gpt2 only
  int64_t bos_id = -1;                  // tokenizer.ggml.bos_token_id, ...; -1: not given
  int64_t eos_id = -1;                  // eos_token_id
  int64_t pad_id = -1;                  // padding_token_id
  int64_t unk_id = -1;                  // unknown_token_id
  std::optional<bool> add_bos;          // add_bos_token; not given: the model kind's own habit
  std::optional<bool> add_eos;          // add_eos_token
  std::optional<bool> add_space_prefix; // add_space_prefix: llama only; not given: true
  std::string chat_template;            // tokenizer.chat_template
};

struct TokenizerSpec;

// THROWS FormatError naming the model kind, the pre-tokenizer or the entry that cannot be used.
TokenizerSpec read_gguf_vocab(const GgufVocab& vocab);

}  // namespace nibble::data
