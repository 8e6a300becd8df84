#include "io/hf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <system_error>

#include "core/error.h"
#include "core/inside_folder.h"
#include "schema/json_text.h"

namespace nibble::io {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::json;
using nn::Family;

constexpr int64_t kMaxVocab = int64_t{1} << 28;
constexpr int64_t kMaxWidth = int64_t{1} << 24;  // hidden, intermediate, all heads together
constexpr int64_t kMaxLayers = 1 << 14;
constexpr double kMaxWeights = 0x1p48;  // of all layers, embedding and head: far above any model, and their bytes fit 63 bits
constexpr int64_t kMaxPositions = std::numeric_limits<int32_t>::max();

// One JSON object of config.json; absent and null are the same, as in transformers.
class Section {
 public:
  Section(const Json& json, const fs::path& path) : json_(json), path_(path) {}

  const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  bool has(const char* key) const { return find(key) != nullptr; }
  bool is_null(const char* key) const { return json_.contains(key) && json_.at(key).is_null(); }

  int64_t integer(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) throw FormatError(fmt::format("'{}' is missing", key), path_.string());
    // Some tools write 8192.0; a uint64 above 2^63 has its own type in nlohmann and fails the comparison.
    const double x = value->is_number() ? value->get<double>() : NAN;
    if (!(std::abs(x) < 0x1p53) || x != std::floor(x)) wrong(key, "a whole number", *value);
    return static_cast<int64_t>(x);
  }
  int64_t integer(const char* key, int64_t absent) const { return has(key) ? integer(key) : absent; }

  double number(const char* key, double absent) const {
    const Json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_number() || !std::isfinite(value->get<double>())) wrong(key, "a number", *value);
    return value->get<double>();
  }
  bool boolean(const char* key, bool absent) const {
    const Json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_boolean()) wrong(key, "true or false", *value);
    return value->get<bool>();
  }
  std::string string(const char* key, const std::string& absent) const {
    const Json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_string()) wrong(key, "a string", *value);
    return value->get<std::string>();
  }
  std::optional<Section> section(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_object()) wrong(key, "an object", *value);
    return Section(*value, path_);
  }
  // One id or a list of them; negative ids mean none.
  std::vector<int64_t> ids(const char* key) const {
    std::vector<int64_t> ids;
    const Json* value = find(key);
    if (value == nullptr) return ids;
    const auto add = [&](const Json& id) {
      const bool fits = id.is_number_integer() && (!id.is_number_unsigned() || id.get<uint64_t>() <= static_cast<uint64_t>(kMaxVocab));
      if (!fits) wrong(key, "a token id or a list of them", *value);
      const auto n = id.get<int64_t>();
      if (n >= 0 && std::find(ids.begin(), ids.end(), n) == ids.end()) ids.push_back(n);
    };
    if (value->is_array()) {
      for (const Json& id : *value) add(id);
    } else {
      add(*value);
    }
    return ids;
  }
  const fs::path& path() const { return path_; }

  [[noreturn]] void wrong(const char* key, const char* expected, const Json& found) const {
    throw FormatError(fmt::format("'{}' must be {}, found {}", key, expected, schema::brief(found)), path_.string());
  }
  [[noreturn]] void refuse(const std::string& message) const { throw ConfigError(message, Place{path_.string(), 0, 0, -1}); }

 private:
  const Json& json_;
  const fs::path& path_;
};

void read_rope(const Section& config, nn::ModelConfig& model) {
  // Old form: rope_theta, and rope_scaling or null. New form: rope_parameters has everything.
  const auto parameters = config.section("rope_parameters");
  const Section& base = parameters && parameters->has("rope_theta") ? *parameters : config;
  model.rope_theta = base.number("rope_theta", 10000.0);
  for (const Section& s : {config, parameters.value_or(config)}) {
    const double rotated = s.number("partial_rotary_factor", 1.0);
    if (rotated != 1.0) s.refuse(fmt::format("partial_rotary_factor {} is not supported: nibble rotates whole heads", rotated));
  }
  const auto scaling = parameters ? parameters : config.section("rope_scaling");
  if (!scaling) return;
  if (scaling->has("full_attention") || scaling->has("sliding_attention")) {
    scaling->refuse("rope_parameters by kind of layer are not supported");
  }
  const std::string kind = scaling->string("rope_type", scaling->string("type", "default"));
  if (kind == "default") return;
  nn::RopeScaling& rope = model.rope_scaling;
  if (kind == "linear") {
    rope.kind = nn::RopeScaling::Kind::kLinear;
  } else if (kind == "llama3") {
    rope.kind = nn::RopeScaling::Kind::kLlama3;
    rope.low_freq_factor = scaling->number("low_freq_factor", 1.0);
    rope.high_freq_factor = scaling->number("high_freq_factor", 4.0);
    rope.original_max_position_embeddings =
        scaling->integer("original_max_position_embeddings", config.integer("original_max_position_embeddings", 8192));
  } else {
    scaling->refuse(fmt::format("rotary scaling '{}' is not supported; nibble knows default, linear and llama3", kind));
  }
  if (!scaling->has("factor")) throw FormatError("the rotary scaling has no 'factor'", config.path().string());
  rope.factor = scaling->number("factor", 1.0);
}

// The sliding window of each layer, as each family's code in transformers decides it.
void read_windows(const Section& config, nn::ModelConfig& model) {
  const auto layers = static_cast<size_t>(model.num_hidden_layers);
  model.layer_window.assign(layers, 0);
  int64_t window = 0;
  int64_t first_layer = 0;
  switch (model.family) {
    case Family::kLlama: break;
    case Family::kMistral:
      // Null means full attention; the class's default where the key is absent is a window.
      window = config.is_null("sliding_window") ? 0 : config.integer("sliding_window", 4096);
      break;
    case Family::kQwen2:
    case Family::kQwen3:
      if (config.boolean("use_sliding_window", false)) window = config.integer("sliding_window", 0);
      first_layer = config.integer("max_window_layers", 28);
      break;
  }
  if (window < 0) throw FormatError(fmt::format("'sliding_window' is {}", window), config.path().string());
  const Json* types = config.find("layer_types");
  if (types == nullptr) {
    for (int64_t l = std::max<int64_t>(first_layer, 0); l < model.num_hidden_layers; ++l) {
      model.layer_window[static_cast<size_t>(l)] = window;
    }
    return;
  }
  if (!types->is_array() || types->size() != layers) {
    throw FormatError(fmt::format("'layer_types' must list the kind of each of the {} layers", layers), config.path().string());
  }
  for (size_t l = 0; l < layers; ++l) {
    const Json& type = (*types)[l];
    if (type == "full_attention") continue;
    if (type != "sliding_attention") config.refuse(fmt::format("layer type {} is not supported", schema::brief(type)));
    if (window == 0) {
      throw FormatError(fmt::format("layer {} has sliding attention, but no sliding window is set", l), config.path().string());
    }
    model.layer_window[l] = window;
  }
}

void read_biases(const Section& config, nn::ModelConfig& model) {
  const nn::FamilyTraits& traits = nn::family_traits(model.family);
  const bool attention_bias = config.boolean("attention_bias", false);
  const bool heeds_key = model.family == Family::kLlama || model.family == Family::kQwen3;
  model.attention_qkv_bias = traits.qkv_bias || (heeds_key && attention_bias);
  model.attention_out_bias = heeds_key && attention_bias;
  model.mlp_bias = model.family == Family::kLlama && config.boolean("mlp_bias", false);
  model.qk_norm = traits.qk_norm;
}

nn::ModelConfig read_section(const Section& config) {
  const std::string type = config.string("model_type", "");
  const nn::FamilyTraits* traits = nn::find_family_by_model_type(type);
  if (traits == nullptr) {
    config.refuse(type.empty() ? fmt::format("it names no model_type; nibble trains {}", nn::known_model_types())
                               : fmt::format("model_type '{}' is not supported; nibble trains {}", type, nn::known_model_types()));
  }
  const std::string act = config.string("hidden_act", "silu");
  if (act != "silu" && act != "swish") config.refuse(fmt::format("hidden_act '{}' is not supported; nibble knows silu", act));

  nn::ModelConfig model;
  model.family = traits->family;
  model.vocab_size = config.integer("vocab_size");
  model.hidden_size = config.integer("hidden_size");
  model.intermediate_size = config.integer("intermediate_size");
  model.num_hidden_layers = config.integer("num_hidden_layers");
  model.num_attention_heads = config.integer("num_attention_heads");
  model.num_key_value_heads = config.integer("num_key_value_heads", model.num_attention_heads);
  if (config.has("head_dim")) {
    model.head_dim = config.integer("head_dim");
  } else if (model.num_attention_heads > 0) {
    // Qwen3's own default, which does not follow from the other sizes.
    model.head_dim = model.family == Family::kQwen3 ? 128 : model.hidden_size / model.num_attention_heads;
  }
  model.max_position_embeddings = config.integer("max_position_embeddings", 2048);
  model.rms_norm_eps = config.number("rms_norm_eps", 1e-6);
  model.tie_word_embeddings = config.boolean("tie_word_embeddings", false);
  read_rope(config, model);
  read_biases(config, model);
  check_model_config(model, config.path());
  read_windows(config, model);
  model.eos_token_ids = config.ids("eos_token_id");
  const auto bos = config.ids("bos_token_id"), pad = config.ids("pad_token_id");
  if (!bos.empty()) model.bos_token_id = bos.front();
  if (!pad.empty()) model.pad_token_id = pad.front();
  return model;
}

}  // namespace

void check_model_config(const nn::ModelConfig& c, const fs::path& path) {
  const auto expect = [&](const char* what, int64_t value, int64_t most) {
    if (value < 1 || value > most) {
      throw FormatError(fmt::format("{} is {}, expected 1 to {}", what, value, most), path.string());
    }
  };
  expect("vocab_size", c.vocab_size, kMaxVocab);
  expect("hidden_size", c.hidden_size, kMaxWidth);
  expect("intermediate_size", c.intermediate_size, kMaxWidth);
  expect("num_hidden_layers", c.num_hidden_layers, kMaxLayers);
  expect("num_attention_heads", c.num_attention_heads, kMaxWidth);
  expect("num_key_value_heads", c.num_key_value_heads, c.num_attention_heads);
  expect("head_dim", c.head_dim, kMaxWidth / c.num_attention_heads);
  expect("max_position_embeddings", c.max_position_embeddings, kMaxPositions);
  const auto size = [](int64_t n) { return static_cast<double>(n); };
  const double attention = 2 * size(c.num_attention_heads + c.num_key_value_heads) * size(c.head_dim);
  const double layer = size(c.hidden_size) * (attention + 3 * size(c.intermediate_size));
  const double weights = size(c.num_hidden_layers) * layer + 2 * size(c.vocab_size) * size(c.hidden_size);
  if (weights > kMaxWeights) {
    throw FormatError(fmt::format("its sizes make a model of {:.3g} weights; the file is damaged, or of no language model", weights), path.string());
  }
  if (c.num_attention_heads % c.num_key_value_heads != 0) {
    throw FormatError(fmt::format("{} attention heads are not a multiple of {} key-value heads", c.num_attention_heads,
                                  c.num_key_value_heads), path.string());
  }
  if (c.head_dim % 2 != 0) throw FormatError(fmt::format("head_dim is {}, it must be even", c.head_dim), path.string());
  if (!(c.rms_norm_eps >= 0) || !(c.rms_norm_eps < 1)) {
    throw FormatError(fmt::format("rms_norm_eps is {}, expected 0 to 1", c.rms_norm_eps), path.string());
  }
  if (!(c.rope_theta > 0) || !std::isfinite(c.rope_theta)) {
    throw FormatError(fmt::format("rope_theta is {}, expected a positive number", c.rope_theta), path.string());
  }
  const nn::RopeScaling& rope = c.rope_scaling;
  if (rope.kind != nn::RopeScaling::Kind::kNone && (!(rope.factor > 0) || !std::isfinite(rope.factor))) {
    throw FormatError(fmt::format("the rotary scaling's factor is {}, expected a positive number", rope.factor), path.string());
  }
  if (rope.kind == nn::RopeScaling::Kind::kLlama3 &&
      (!(rope.low_freq_factor > 0) || !(rope.high_freq_factor > rope.low_freq_factor) || rope.original_max_position_embeddings < 1)) {
    throw FormatError(fmt::format("the llama3 rotary scaling has low_freq_factor {}, high_freq_factor {}, "
                                  "original_max_position_embeddings {}", rope.low_freq_factor, rope.high_freq_factor,
                                  rope.original_max_position_embeddings), path.string());
  }
}

nn::ModelConfig parse_hf_config(const std::string& text, const fs::path& path) {
  const Json json = schema::parse_json(text, path);
  if (!json.is_object()) throw FormatError("it must hold one JSON object", path.string(), 0);
  const Section config(json, path);
  // A model that also sees images nests its language model.
  if (nn::find_family_by_model_type(config.string("model_type", "")) == nullptr) {
    if (const auto nested = config.section("text_config")) {
      if (nn::find_family_by_model_type(nested->string("model_type", "")) != nullptr) return read_section(*nested);
    }
  }
  return read_section(config);
}

nn::ModelConfig read_hf_config(const fs::path& config_json) {
  expect_inside(config_json.parent_path(), config_json);
  nn::ModelConfig model = parse_hf_config(schema::read_json_text(config_json), config_json);
  const fs::path generation = config_json.parent_path() / "generation_config.json";
  std::error_code error;
  if (fs::exists(generation, error)) {
    expect_inside(config_json.parent_path(), generation);
    const Json json = schema::read_json_object(generation);
    for (const int64_t id : Section(json, generation).ids("eos_token_id")) {
      if (std::find(model.eos_token_ids.begin(), model.eos_token_ids.end(), id) == model.eos_token_ids.end()) {
        model.eos_token_ids.push_back(id);
      }
    }
  }
  return model;
}

std::string render_hf_config(const nn::ModelConfig& c) {
  const nn::FamilyTraits& traits = nn::family_traits(c.family);
  nlohmann::ordered_json json;
  json["architectures"] = {traits.architecture};
  json["attention_bias"] = traits.qkv_bias ? c.attention_out_bias : c.attention_qkv_bias;
  json["attention_dropout"] = 0.0;
  if (c.bos_token_id) json["bos_token_id"] = *c.bos_token_id;
  if (c.eos_token_ids.size() == 1) json["eos_token_id"] = c.eos_token_ids.front();
  if (c.eos_token_ids.size() > 1) json["eos_token_id"] = c.eos_token_ids;
  json["head_dim"] = c.head_dim;
  json["hidden_act"] = "silu";
  json["hidden_size"] = c.hidden_size;
  json["initializer_range"] = 0.02;
  json["intermediate_size"] = c.intermediate_size;
  json["max_position_embeddings"] = c.max_position_embeddings;
  json["mlp_bias"] = c.mlp_bias;
  json["model_type"] = traits.model_type;
  json["num_attention_heads"] = c.num_attention_heads;
  json["num_hidden_layers"] = c.num_hidden_layers;
  json["num_key_value_heads"] = c.num_key_value_heads;
  if (c.pad_token_id) json["pad_token_id"] = *c.pad_token_id;
  json["rms_norm_eps"] = c.rms_norm_eps;
  switch (c.rope_scaling.kind) {
    case nn::RopeScaling::Kind::kNone: json["rope_scaling"] = nullptr; break;
    case nn::RopeScaling::Kind::kLinear:
      json["rope_scaling"] = {{"factor", c.rope_scaling.factor}, {"rope_type", "linear"}};
      break;
    case nn::RopeScaling::Kind::kLlama3:
      json["rope_scaling"] = {{"factor", c.rope_scaling.factor},
                              {"high_freq_factor", c.rope_scaling.high_freq_factor},
                              {"low_freq_factor", c.rope_scaling.low_freq_factor},
                              {"original_max_position_embeddings", c.rope_scaling.original_max_position_embeddings},
                              {"rope_type", "llama3"}};
      break;
  }
  json["rope_theta"] = c.rope_theta;
  const auto widest = std::max_element(c.layer_window.begin(), c.layer_window.end());
  const int64_t window = widest == c.layer_window.end() ? 0 : *widest;
  if (c.family == Family::kMistral) json["sliding_window"] = window > 0 ? nlohmann::ordered_json(window) : nullptr;
  if (c.family == Family::kQwen2 || c.family == Family::kQwen3) {
    json["use_sliding_window"] = window > 0;
    json["sliding_window"] = window > 0 ? nlohmann::ordered_json(window) : nullptr;
    nlohmann::ordered_json types = nlohmann::ordered_json::array();
    for (const int64_t w : c.layer_window) types.push_back(w > 0 ? "sliding_attention" : "full_attention");
    json["layer_types"] = types;
  }
  json["tie_word_embeddings"] = c.tie_word_embeddings;
  json["torch_dtype"] = "bfloat16";
  json["use_cache"] = true;
  json["vocab_size"] = c.vocab_size;
  return json.dump(2) + "\n";
}

std::string merged_hf_config(const std::string& text, const std::string& dtype) {
  nlohmann::ordered_json json = schema::parse_ordered_json(text, "config.json");
  const auto describe = [&](nlohmann::ordered_json& section) {
    section.erase("quantization_config");
    const char* key = section.contains("dtype") ? "dtype" : "torch_dtype";
    section[key] = dtype;
    if (section.contains("torch_dtype")) section["torch_dtype"] = dtype;
  };
  describe(json);
  if (json.contains("text_config") && json["text_config"].is_object()) describe(json["text_config"]);
  return json.dump(2) + "\n";
}

}  // namespace nibble::io
