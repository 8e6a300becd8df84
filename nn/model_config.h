// The shape of a decoder-only model, from config.json or a GGUF header, and the table of families that nibble knows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::nn {

enum class Family : uint8_t { kLlama, kMistral, kQwen2, kQwen3 };

// What a family's published code does beyond what its config.json says. One row a family in model_config.cpp.
struct FamilyTraits {
  Family family;
  std::string_view model_type;    // config.json "model_type"
  std::string_view architecture;  // config.json "architectures"[0]
  std::string_view gguf_name;     // GGUF general.architecture
  bool qkv_bias;                  // q, k, v always carry a bias (no key says so)
  bool qk_norm;                   // RMSNorm per head on q and k
};
const FamilyTraits& family_traits(Family family);
const FamilyTraits* find_family_by_model_type(std::string_view model_type);  // nullptr: unknown
const FamilyTraits* find_family_by_gguf_name(std::string_view name);
std::string known_model_types();  // "llama, mistral, ..." for messages

// Llama-3 style rotary frequency scaling (config.json rope_scaling / rope_parameters, rope_type "llama3"),
// and "linear" (frequencies divided by factor).
struct RopeScaling {
  enum class Kind : uint8_t { kNone, kLinear, kLlama3 } kind = Kind::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position_embeddings = 8192;
};

struct ModelConfig {
  Family family = Family::kLlama;
  int64_t vocab_size = 0;            // V
  int64_t hidden_size = 0;           // C
  int64_t intermediate_size = 0;     // F
  int64_t num_hidden_layers = 0;     // L
  int64_t num_attention_heads = 0;   // Hq
  int64_t num_key_value_heads = 0;   // Hkv
  int64_t head_dim = 0;              // D
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  bool attention_qkv_bias = false;
  bool attention_out_bias = false;   // llama attention_bias: also on o_proj
  bool mlp_bias = false;
  bool qk_norm = false;
  std::vector<int64_t> layer_window; // [L]; sliding window in tokens of each layer, 0: full attention
  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> pad_token_id;

  int64_t q_width() const { return num_attention_heads * head_dim; }
  int64_t kv_width() const { return num_key_value_heads * head_dim; }
};

// The seven linears of a layer, in the order in which the step uses them.
enum class Projection : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown };
inline constexpr int kProjections = 7;
std::string_view projection_name(Projection p);                      // "q_proj"
std::string projection_path(int64_t layer, Projection p);            // "model.layers.3.self_attn.q_proj"
struct LinearShape { int64_t out, in; bool bias; };
LinearShape projection_shape(const ModelConfig& config, Projection p);

}  // namespace nibble::nn
