// The tokenizer of a GGUF file (tokenizer.ggml.*) written as tokenizer.json and tokenizer_config.json, as the tokenizers
// library and transformers read them. For byte-level BPE ("gpt2"); the pre-tokenizer, which GGUF only names, is spelled out
// for the names that llama, mistral, qwen2 and qwen3 models use.
#pragma once

#include <filesystem>
#include <string>

#include "io/gguf.h"

namespace nibble::io {

// THROWS ConfigError naming the kind of tokenizer that cannot be written; FormatError for entries that contradict each other.
std::string render_tokenizer_json(const GgufFile& file);
std::string render_tokenizer_config(const GgufFile& file);

// Both into `folder`. THROWS as above, IoError
void write_gguf_tokenizer(const GgufFile& file, const std::filesystem::path& folder);

}  // namespace nibble::io
