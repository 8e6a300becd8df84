// LoRA adapters as PEFT folders.
//
//   adapter_config.json          r, lora_alpha, target_modules, ...: sorted keys, two-space indent
//   adapter_model.safetensors    base_model.model.<path of the linear>.lora_A.weight [r, In] and .lora_B.weight [Out, r]
//
// Source: huggingface/peft, LoraConfig and get_peft_model_state_dict. Only the keys that every PEFT version knows are
// written. On reading, a key set to something that nibble does not do is refused by name, and the tensors must be exactly
// those that the configuration calls for: an adapter that binds to fewer linears than it claims trains the wrong thing.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "nn/lora.h"
#include "nn/model.h"

namespace nibble::io {

struct AdapterConfig {
  std::string base_model_name_or_path;
  int64_t r = 16;
  double alpha = 32;
  double dropout = 0;
  bool use_rslora = false;
  std::vector<std::string> target_modules;  // names such as "q_proj"; or one entry, "all-linear" or a regular expression
  bool target_is_pattern = false;           // target_modules was a string: "all-linear" or a regular expression
  // Rank and alpha of single modules, by the end of their path; the first match counts.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;

  int64_t rank_of(const std::string& path) const;
  float scale_of(const std::string& path) const;  // alpha / r, or alpha / sqrt(r) with rsLoRA
};

// The configuration of a new adapter. base: model_name_or_path of the base.
AdapterConfig adapter_config_of(const nn::LoraConfig& lora, const std::string& base);

struct AdapterFactors {
  Tensor a;            // [R, In]
  Tensor b;            // [Out, R]
  float scale = 1.0f;
};
struct Adapter {
  AdapterConfig config;
  std::map<std::string, AdapterFactors> factors;  // by the linear's path, "model.layers.0.self_attn.q_proj"
};

// The factors of `model` by their names in the file, in host memory and in their dtype: on a CPU the model's own storage, which
// the next step overwrites. THROWS CudaError
using AdapterTensors = std::map<std::string, Tensor>;
AdapterTensors adapter_tensors(const nn::Model& model);

// Writes the two files into `folder`, which exists. THROWS IoError
void write_adapter(const std::filesystem::path& folder, const AdapterTensors& tensors, const AdapterConfig& config);
std::string render_adapter_config(const AdapterConfig& config);

// adapter_config.json alone: for its base, before that is opened. THROWS IoError, FormatError, ConfigError
AdapterConfig read_adapter_config(const std::filesystem::path& folder);

// Reads an adapter for a model of this shape; the factors are copies in the file's dtype.
// THROWS IoError; ConfigError for a kind of adapter that nibble does not train; FormatError for a tensor that is missing,
// too many, of another shape or dtype, or not finite.
Adapter read_adapter(const std::filesystem::path& folder, const nn::ModelConfig& model);

// Puts the factors into the model's linears, with this dropout and zeroed gradients. Linears that the adapter does not name
// have none afterwards. THROWS ConfigError where none is bound.
void attach_adapter(nn::Model& model, const Adapter& adapter, double dropout);

// Whether a folder holds an adapter (adapter_config.json is there).
bool is_adapter_folder(const std::filesystem::path& folder);

}  // namespace nibble::io
