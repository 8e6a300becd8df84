#include "nn/model_config.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>

namespace nibble::nn {
namespace {

// Mistral's GGUF files say "llama": the first row with a GGUF name is the one found by it.
constexpr std::array<FamilyTraits, 4> kFamilies{{
    {Family::kLlama, "llama", "LlamaForCausalLM", "llama", false, false},
    {Family::kMistral, "mistral", "MistralForCausalLM", "llama", false, false},
    {Family::kQwen2, "qwen2", "Qwen2ForCausalLM", "qwen2", true, false},
    {Family::kQwen3, "qwen3", "Qwen3ForCausalLM", "qwen3", false, true},
}};

}  // namespace

const FamilyTraits& family_traits(Family family) { return kFamilies.at(static_cast<size_t>(family)); }

const FamilyTraits* find_family_by_model_type(std::string_view model_type) {
  for (const FamilyTraits& traits : kFamilies) {
    if (traits.model_type == model_type) return &traits;
  }
  return nullptr;
}

const FamilyTraits* find_family_by_gguf_name(std::string_view name) {
  for (const FamilyTraits& traits : kFamilies) {
    if (traits.gguf_name == name) return &traits;
  }
  return nullptr;
}

std::string known_model_types() {
  std::string names;
  for (const FamilyTraits& traits : kFamilies) {
    if (!names.empty()) names += ", ";
    names += traits.model_type;
  }
  return names;
}

std::string_view projection_name(Projection p) {
  switch (p) {
    case Projection::kQ: return "q_proj";
    case Projection::kK: return "k_proj";
    case Projection::kV: return "v_proj";
    case Projection::kO: return "o_proj";
    case Projection::kGate: return "gate_proj";
    case Projection::kUp: return "up_proj";
    case Projection::kDown: return "down_proj";
  }
  throw std::logic_error("no such projection");
}

std::string projection_path(int64_t layer, Projection p) {
  const bool attention = p <= Projection::kO;
  return fmt::format("model.layers.{}.{}.{}", layer, attention ? "self_attn" : "mlp", projection_name(p));
}

LinearShape projection_shape(const ModelConfig& c, Projection p) {
  switch (p) {
    case Projection::kQ: return {c.q_width(), c.hidden_size, c.attention_qkv_bias};
    case Projection::kK: return {c.kv_width(), c.hidden_size, c.attention_qkv_bias};
    case Projection::kV: return {c.kv_width(), c.hidden_size, c.attention_qkv_bias};
    case Projection::kO: return {c.hidden_size, c.q_width(), c.attention_out_bias};
    case Projection::kGate: return {c.intermediate_size, c.hidden_size, c.mlp_bias};
    case Projection::kUp: return {c.intermediate_size, c.hidden_size, c.mlp_bias};
    case Projection::kDown: return {c.hidden_size, c.intermediate_size, c.mlp_bias};
  }
  throw std::logic_error("no such projection");
}

}  // namespace nibble::nn
