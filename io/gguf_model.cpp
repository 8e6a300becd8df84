#include "io/gguf_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <utility>
#include <vector>

#include "core/error.h"
#include "io/hf_config.h"

namespace nibble::io {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kLayerNames{
    {{"attn_norm", "input_layernorm"},
     {"ffn_norm", "post_attention_layernorm"},
     {"attn_q", "self_attn.q_proj"},
     {"attn_k", "self_attn.k_proj"},
     {"attn_v", "self_attn.v_proj"},
     {"attn_output", "self_attn.o_proj"},
     {"attn_q_norm", "self_attn.q_norm"},
     {"attn_k_norm", "self_attn.k_norm"},
     {"ffn_gate", "mlp.gate_proj"},
     {"ffn_up", "mlp.up_proj"},
     {"ffn_down", "mlp.down_proj"}}};

[[noreturn]] void refuse(const GgufFile& file, const std::string& message) {
  throw ConfigError(message, Place{file.path().string(), 0, 0, -1});
}

// What llama3 scaling divides each of a head's frequencies by: no more than low-frequency ones need.
std::vector<double> llama3_divisors(const nn::ModelConfig& c, const nn::RopeScaling& rope) {
  const auto old_length = static_cast<double>(rope.original_max_position_embeddings);
  std::vector<double> divisors;
  for (int64_t i = 0; i < c.head_dim; i += 2) {
    const double frequency = std::pow(c.rope_theta, -static_cast<double>(i) / static_cast<double>(c.head_dim));
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < old_length / rope.high_freq_factor) {
      divisors.push_back(1);
    } else if (wavelength > old_length / rope.low_freq_factor) {
      divisors.push_back(rope.factor);
    } else {
      const double smooth =
          (old_length / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      divisors.push_back(1 / ((1 - smooth) / rope.factor + smooth));
    }
  }
  return divisors;
}

// GGUF stores the divisors themselves, not what they were made from; llama3's are made from one number, the factor, and
// three that never change in published models.
void read_rope_divisors(const GgufFile& file, nn::ModelConfig& c) {
  const GgufTensor* tensor = file.find_tensor("rope_freqs.weight");
  if (tensor == nullptr) return;
  if (tensor->shape != std::vector<int64_t>{c.head_dim / 2} || tensor->type != GgmlType::kF32) {
    throw FormatError(fmt::format("tensor 'rope_freqs.weight' must hold {} fp32 values", c.head_dim / 2), file.path().string(),
                      tensor->begin);
  }
  std::vector<float> found(static_cast<size_t>(c.head_dim / 2));
  dequantize_rows(file, *tensor, 0, 1, found.data());
  const float largest = *std::max_element(found.begin(), found.end());
  if (std::all_of(found.begin(), found.end(), [](float d) { return d == 1.0f; })) return;
  nn::RopeScaling rope;
  rope.kind = nn::RopeScaling::Kind::kLlama3;
  rope.factor = largest;
  rope.low_freq_factor = 1;
  rope.high_freq_factor = 4;
  rope.original_max_position_embeddings = 8192;
  const std::vector<double> expected = llama3_divisors(c, rope);
  for (size_t i = 0; i < found.size(); ++i) {
    if (!(std::abs(found[i] - expected[i]) <= 1e-4 * expected[i])) {
      refuse(file, fmt::format("its rotary scaling (rope_freqs.weight, value {} is {}) is not llama3's with the usual settings; "
                               "take the Hugging Face folder of this model instead", i, found[i]));
    }
  }
  c.rope_scaling = rope;
}

void read_rope(const GgufFile& file, const std::string& arch, nn::ModelConfig& c) {
  c.rope_theta = file.find_float(arch + ".rope.freq_base").value_or(10000.0);
  const int64_t rotated = file.find_int(arch + ".rope.dimension_count").value_or(c.head_dim);
  if (rotated != c.head_dim) {
    refuse(file, fmt::format("it rotates {} of each head's {} values; nibble rotates whole heads", rotated, c.head_dim));
  }
  const std::string kind = file.find_string(arch + ".rope.scaling.type").value_or("none");
  if (kind == "linear") {
    c.rope_scaling.kind = nn::RopeScaling::Kind::kLinear;
    c.rope_scaling.factor = file.get_float(arch + ".rope.scaling.factor");
  } else if (kind == "none") {
    // The key of files before rope.scaling.type.
    if (const auto scale = file.find_float(arch + ".rope.scale_linear"); scale && *scale != 1.0 && *scale != 0.0) {
      c.rope_scaling.kind = nn::RopeScaling::Kind::kLinear;
      c.rope_scaling.factor = *scale;
    }
  } else {
    refuse(file, fmt::format("rotary scaling '{}' is not supported; nibble knows linear and llama3", kind));
  }
}

void read_token_ids(const GgufFile& file, nn::ModelConfig& c) {
  const auto id = [&](const char* key) -> std::optional<int64_t> {
    const auto value = file.find_int(fmt::format("tokenizer.ggml.{}_token_id", key));
    return value && *value >= 0 ? value : std::nullopt;
  };
  c.bos_token_id = id("bos");
  c.pad_token_id = id("padding");
  for (const char* key : {"eos", "eot"}) {
    const auto end = id(key);
    if (end && std::find(c.eos_token_ids.begin(), c.eos_token_ids.end(), *end) == c.eos_token_ids.end()) {
      c.eos_token_ids.push_back(*end);
    }
  }
}

}  // namespace

nn::ModelConfig gguf_model_config(const GgufFile& file) {
  const std::string arch = file.get_string("general.architecture");
  const nn::FamilyTraits* traits = nn::find_family_by_gguf_name(arch);
  if (traits == nullptr) {
    refuse(file, fmt::format("architecture '{}' is not supported; nibble trains {}", arch, nn::known_model_types()));
  }
  if (file.find_int(arch + ".expert_count").value_or(0) > 0) refuse(file, "it is a mixture of experts, which nibble does not train");
  const GgufTensor* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    throw FormatError("it has no tensor 'token_embd.weight' of two dimensions: not a language model", file.path().string());
  }
  nn::ModelConfig c;
  c.family = traits->family;
  c.vocab_size = embedding->shape[0];
  c.hidden_size = file.get_int(arch + ".embedding_length");
  c.intermediate_size = file.get_int(arch + ".feed_forward_length");
  c.num_hidden_layers = file.get_int(arch + ".block_count");
  c.num_attention_heads = file.get_int(arch + ".attention.head_count");
  c.num_key_value_heads = file.find_int(arch + ".attention.head_count_kv").value_or(c.num_attention_heads);
  const int64_t default_width = c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0;
  c.head_dim = file.find_int(arch + ".attention.key_length").value_or(default_width);
  const int64_t value_width = file.find_int(arch + ".attention.value_length").value_or(c.head_dim);
  if (value_width != c.head_dim) {
    refuse(file, fmt::format("its heads have keys of {} and values of {}; nibble needs the same width", c.head_dim, value_width));
  }
  c.max_position_embeddings = file.find_int(arch + ".context_length").value_or(2048);
  // Stored as fp32; the shortest decimal that is this fp32 value is what config.json said.
  c.rms_norm_eps = std::strtod(
      fmt::format("{}", static_cast<float>(file.get_float(arch + ".attention.layer_norm_rms_epsilon"))).c_str(), nullptr);
  read_rope(file, arch, c);
  check_model_config(c, file.path());
  read_rope_divisors(file, c);
  c.tie_word_embeddings = file.find_tensor("output.weight") == nullptr;
  c.attention_qkv_bias = file.find_tensor("blk.0.attn_q.bias") != nullptr;
  c.attention_out_bias = file.find_tensor("blk.0.attn_output.bias") != nullptr;
  c.mlp_bias = file.find_tensor("blk.0.ffn_gate.bias") != nullptr;
  c.qk_norm = traits->qk_norm;
  c.layer_window.assign(static_cast<size_t>(c.num_hidden_layers), 0);
  read_token_ids(file, c);
  return c;
}

std::optional<std::string> hf_name_of_gguf(std::string_view name) {
  if (name == "token_embd.weight") return "model.embed_tokens.weight";
  if (name == "output_norm.weight") return "model.norm.weight";
  if (name == "output.weight") return "lm_head.weight";
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  const size_t dot = name.find('.'), last = name.rfind('.');
  if (dot == std::string_view::npos || last == dot) return std::nullopt;
  const std::string_view layer = name.substr(0, dot), kind = name.substr(dot + 1, last - dot - 1), suffix = name.substr(last + 1);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(layer.data(), layer.data() + layer.size(), number);
  if (error != std::errc() || end != layer.data() + layer.size() || number < 0) return std::nullopt;
  if (suffix != "weight" && suffix != "bias") return std::nullopt;
  for (const auto& [gguf, hf] : kLayerNames) {
    if (gguf == kind) return fmt::format("model.layers.{}.{}.{}", number, hf, suffix);
  }
  return std::nullopt;
}

bool has_interleaved_rows(const nn::ModelConfig& config, std::string_view hf_name) {
  if (config.family != nn::Family::kLlama && config.family != nn::Family::kMistral) return false;
  return hf_name.find(".self_attn.q_proj.") != std::string_view::npos || hf_name.find(".self_attn.k_proj.") != std::string_view::npos;
}

int64_t interleaved_row(int64_t row, int64_t head_dim) {
  const int64_t head = row / head_dim, within = row % head_dim, half = head_dim / 2;
  return head * head_dim + within % half * 2 + within / half;
}

}  // namespace nibble::io
