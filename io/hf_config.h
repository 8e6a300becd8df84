// config.json of a Hugging Face model folder <-> nn::ModelConfig.
//
// What would silently change the model's results and is not implemented (another activation, a rotary scaling of another
// kind, an unknown family) is refused by name: a ConfigError, since the choice of model is the user's. A value that makes
// no sense is a FormatError.
#pragma once

#include <filesystem>
#include <string>

#include "nn/model_config.h"

namespace nibble::io {

// Reads config.json, and further end-of-text ids from a generation_config.json beside it.
// THROWS IoError, FormatError, ConfigError
nn::ModelConfig read_hf_config(const std::filesystem::path& config_json);

// The same from text; `path` is for messages.
nn::ModelConfig parse_hf_config(const std::string& text, const std::filesystem::path& path);

// config.json for a model that came without one (GGUF); dtype "bfloat16".
std::string render_hf_config(const nn::ModelConfig& config);

// config.json of a base, changed to describe a merged model: no quantization_config, this dtype ("bfloat16"); everything
// else, also what nibble does not know, as it was. REQUIRES text that read_hf_config accepted.
std::string merged_hf_config(const std::string& text, const std::string& dtype);

// Checks sizes that both config.json and GGUF headers give: positive, bounded so that no product of them overflows,
// heads a multiple of key-value heads, an even head width. THROWS FormatError with `path`
void check_model_config(const nn::ModelConfig& config, const std::filesystem::path& path);

}  // namespace nibble::io
