// Weights that bitsandbytes quantized to 4 bits, as transformers saves them (config.json has a quantization_config):
//
//   P.weight                                uint8 [ceil(N/2), 1]     codes, first element in the high nibble
//   P.weight.absmax                         fp32 or, with double quantization, uint8 [blocks]
//   P.weight.quant_map                      fp32 [16]                the codebook
//   P.weight.nested_absmax, nested_quant_map  fp32 [ceil(blocks/256)], [256]; double quantization only
//   P.weight.quant_state.bitsandbytes__nf4  uint8                    JSON: shape, blocksize, dtype, nested_offset, ...
//
// Source: bitsandbytes.functional.QuantState.as_dict(packed=True).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/shards.h"
#include "quant/layout.h"

namespace nibble::io {

// Refuses, with a ConfigError, a quantization_config that nibble does not read: another method, 8 bits, another storage
// dtype. True: the folder's linears are stored in 4 bits; false: no quantization_config.
bool check_quantization_config(const std::filesystem::path& config_json);

// For "P.weight.absmax" and the like "P.weight", else "".
std::string bnb_owner(const std::string& stored_name);

bool is_bnb_weight(const SafetensorsShards& shards, const std::string& stored_name);

// The weight's [Out, In]. THROWS FormatError
std::vector<int64_t> bnb_shape(const SafetensorsShards& shards, const std::string& stored_name);

enum class BnbRead : uint8_t {
  kCopy,
  kView  // parts are views of the files, which must not be written to and live as long as `shards`; copies where the file
         // does not align them
};

// The weight. Every size is checked against the shape, the tables against our own. THROWS FormatError naming the tensor.
quant::QuantizedWeight read_bnb_weight(const SafetensorsShards& shards, const std::string& stored_name, BnbRead read = BnbRead::kCopy);

// Lets the pages of a weight and its parts go.
void drop_bnb_weight(const SafetensorsShards& shards, const std::string& stored_name);

}  // namespace nibble::io
