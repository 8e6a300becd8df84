// A GGUF file as a model: its configuration, and its tensors by their Hugging Face names.
//
// GGUF names tensors in its own way (blk.3.attn_q.weight), keeps the configuration as <architecture>.* metadata, and
// stores the q and k rows of llama models in another order: each head's rows interleave the two halves that rotate
// together. Source: llama.cpp's convert_hf_to_gguf.py and gguf-py's tensor_mapping.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "io/gguf.h"
#include "nn/model_config.h"

namespace nibble::io {

// THROWS FormatError for missing or senseless metadata, ConfigError for what nibble does not train: an unknown
// architecture, experts, a rotary scaling of another kind.
nn::ModelConfig gguf_model_config(const GgufFile& file);

// "model.layers.3.self_attn.q_proj.weight" for "blk.3.attn_q.weight"; nullopt: no weight of a decoder.
std::optional<std::string> hf_name_of_gguf(std::string_view gguf_name);

// Whether a tensor's rows are interleaved in the file: q and k (weights and biases) of llama models.
bool has_interleaved_rows(const nn::ModelConfig& config, std::string_view hf_name);
// The row in the file that holds row `row` of the Hugging Face tensor.
int64_t interleaved_row(int64_t row, int64_t head_dim);

}  // namespace nibble::io
