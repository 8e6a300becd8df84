#include "io/packed_layout.h"

#include <fmt/format.h>

#include <array>

namespace nibble::io {
namespace {

constexpr int64_t kGroupAlignment = 64;

DType stored_dtype(at::ScalarType dtype) { return dtype == at::kFloat ? DType::kF32 : DType::kBF16; }

PackedGroup layer_group(const nn::ModelConfig& c, int64_t layer, DType dtype) {
  PackedGroup group;
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const auto dense = [&](const std::string& name, int64_t n) { group.dense.push_back({name, dtype, {n}}); };
  dense(prefix + "input_layernorm.weight", c.hidden_size);
  dense(prefix + "post_attention_layernorm.weight", c.hidden_size);
  if (c.qk_norm) {
    dense(prefix + "self_attn.q_norm.weight", c.head_dim);
    dense(prefix + "self_attn.k_norm.weight", c.head_dim);
  }
  for (int p = 0; p < nn::kProjections; ++p) {
    const auto projection = static_cast<nn::Projection>(p);
    const nn::LinearShape shape = nn::projection_shape(c, projection);
    const std::string path = nn::projection_path(layer, projection);
    group.packed.push_back({path + ".weight", shape.out, shape.in});
    if (shape.bias) dense(path + ".bias", shape.out);
  }
  return group;
}

int64_t bytes_of(const std::vector<PackedTensor>& tensors) {
  int64_t bytes = 0;
  for (const PackedTensor& t : tensors) bytes += checked_bytes(t.tensor.shape, t.tensor.dtype);
  return bytes;
}

}  // namespace

std::string PackedRecipe::text() const {
  return fmt::format("{} {} {}{}{}", dtype == at::kFloat ? "fp32" : "bf16", quant.type == QuantType::kNf4 ? "nf4" : "fp4", quant.blocksize,
                     quant.double_quant ? " dq" : "", quantize_head ? " head" : "");
}

std::vector<PackedGroup> packed_groups(const nn::ModelConfig& c, const PackedRecipe& recipe) {
  const DType dtype = stored_dtype(recipe.dtype);
  std::vector<PackedGroup> groups;
  for (int64_t l = 0; l < c.num_hidden_layers; ++l) groups.push_back(layer_group(c, l, dtype));
  PackedGroup rest;
  rest.dense.push_back({"model.norm.weight", dtype, {c.hidden_size}});
  rest.dense.push_back({"model.embed_tokens.weight", dtype, {c.vocab_size, c.hidden_size}});
  if (recipe.quantize_head) {
    rest.packed.push_back({"lm_head.weight", c.vocab_size, c.hidden_size});
  } else if (!c.tie_word_embeddings) {
    rest.dense.push_back({"lm_head.weight", dtype, {c.vocab_size, c.hidden_size}});
  }
  groups.push_back(std::move(rest));
  for (PackedGroup& group : groups) {
    if (group.packed.empty()) continue;
    const int64_t over = bytes_of(group_tensors(group, recipe)) % kGroupAlignment;
    group.packed.back().state_bytes += (kGroupAlignment - over) % kGroupAlignment;
  }
  return groups;
}

std::vector<PackedTensor> group_tensors(const PackedGroup& group, const PackedRecipe& recipe) {
  std::vector<PackedTensor> tensors;
  const auto add_parts = [&](std::initializer_list<BnbPart> parts, DType dtype) {
    for (const BnbPart part : parts) {
      for (size_t w = 0; w < group.packed.size(); ++w) {
        const PackedWeight& weight = group.packed[w];
        for (BnbTensor& t : bnb_tensors(weight.name, recipe.quant, weight.out, weight.in, weight.state_bytes)) {
          if (t.part == part && t.tensor.dtype == dtype) tensors.push_back({std::move(t.tensor), false, w, part});
        }
      }
    }
  };
  add_parts({BnbPart::kNestedAbsmax, BnbPart::kAbsmax, BnbPart::kQuantMap, BnbPart::kNestedQuantMap}, DType::kF32);
  for (size_t d = 0; d < group.dense.size(); ++d) tensors.push_back({group.dense[d], true, d});
  add_parts({BnbPart::kCodes, BnbPart::kAbsmax, BnbPart::kState}, DType::kU8);
  return tensors;
}

SafetensorsPlan packed_plan(const std::vector<PackedGroup>& groups, const PackedRecipe& recipe, const std::string& key) {
  SafetensorsPlan plan;
  for (const PackedGroup& group : groups) {
    for (PackedTensor& t : group_tensors(group, recipe)) plan.tensors.push_back(std::move(t.tensor));
  }
  plan.tensors.push_back({kChecksumsName, DType::kU8, {static_cast<int64_t>(plan.tensors.size() * kChecksumDigits)}});
  plan.metadata = {{"format", "pt"}, {"nibble_packed", fmt::format("{}", kPackedFormat)}, {"key", key}, {"recipe", recipe.text()}};
  return plan;
}

int64_t packed_file_bytes(const SafetensorsPlan& plan) {
  int64_t bytes = 0;
  for (const auto& tensor : plan.tensors) bytes += checked_bytes(tensor.shape, tensor.dtype);
  return bytes;
}

}  // namespace nibble::io
