// The files of an exported model besides its weights: configuration, tokenizer, chat template.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "io/weight_source.h"

namespace nibble::io {

// Writes config.json (without a quantization_config, of this dtype), generation_config.json and the tokenizer's files into
// `folder`: copies of a Hugging Face base's, or made from a GGUF file's metadata. chat_template: Jinja text that replaces
// the base's; "": keep it. THROWS IoError, FormatError
void write_model_files(const WeightSource& source, const std::filesystem::path& folder, const std::string& dtype,
                       const std::string& chat_template);

// A file with this content, synced. THROWS IoError
void write_file(const std::filesystem::path& path, std::string_view text);

// Whether nibble's exports (of any format) write a file of this name.
bool is_export_file(const std::string& name);

}  // namespace nibble::io
