// What a packed cache holds, and in which order: a safetensors file in bitsandbytes' layout, with
//
//   layer 0, layer 1, ... L-1   7 packed linears, norms and biases; a layer's bytes lie together, so that it comes and goes
//                               in one piece
//   the rest                    final norm, embedding, and the head where it is not the embedding
//   nibble.checksums            uint8: XXH3-128 of every tensor before it, in their order, as 32 hex digits each
//
// and in __metadata__ the format's version and the key of what was packed, so that a file is known to be the right one
// before any of its bytes are used. Within a group fp32 comes first, then dense tensors, codes, 8-bit scales and states; the
// last state fills the group up to a multiple of 64 bytes, so that every tensor is aligned to its element and can be used
// where it lies.
#pragma once

#include <string>
#include <vector>

#include "io/bnb_writer.h"
#include "nn/model_config.h"

namespace nibble::io {

inline constexpr int kPackedFormat = 1;  // goes up with every change of what the file holds or of how weights are packed
inline constexpr const char* kChecksumsName = "nibble.checksums";
inline constexpr size_t kChecksumDigits = 32;

// How a base is packed.
struct PackedRecipe {
  at::ScalarType dtype = at::kBFloat16;  // of what stays dense: norms, biases, embedding, head
  quant::QuantConfig quant;              // of the linears
  bool quantize_head = false;            // the head in 4 bits too, beside the embedding where they are one

  std::string text() const;  // "bf16 nf4 64 dq"
};

// A weight that is stored packed.
struct PackedWeight {
  std::string name;  // "model.layers.0.mlp.up_proj.weight"; of the head always "lm_head.weight"
  int64_t out = 0, in = 0;
  int64_t state_bytes = kBnbStateBytes;
};

// What is written together.
struct PackedGroup {
  std::vector<SafetensorsPlan::Tensor> dense;
  std::vector<PackedWeight> packed;
};

std::vector<PackedGroup> packed_groups(const nn::ModelConfig& config, const PackedRecipe& recipe);

// One tensor of a group: a part of packed[weight], or dense[weight].
struct PackedTensor {
  SafetensorsPlan::Tensor tensor;
  bool dense = false;
  size_t weight = 0;
  BnbPart part = BnbPart::kCodes;
};
std::vector<PackedTensor> group_tensors(const PackedGroup& group, const PackedRecipe& recipe);

// The whole file: all groups and the checksums.
SafetensorsPlan packed_plan(const std::vector<PackedGroup>& groups, const PackedRecipe& recipe, const std::string& key);
int64_t packed_file_bytes(const SafetensorsPlan& plan);  // of the tensors

}  // namespace nibble::io
