// adapter_config.json: see io/adapter.h.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <system_error>

#include "core/error.h"
#include "core/inside_folder.h"
#include "io/adapter.h"
#include "schema/json_text.h"

namespace nibble::io {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;
constexpr int64_t kMaxRank = 1 << 16;

// Keys that must be absent or say "nothing": what each would do instead.
struct Unsupported {
  const char* key;
  const char* what;
};
constexpr std::array<Unsupported, 21> kUnsupported{{
    {"use_dora", "it is a DoRA adapter"},
    {"use_qalora", "it is a QALoRA adapter"},
    {"use_bdlora", "it is a block-diagonal LoRA adapter"},
    {"modules_to_save", "it trains whole modules besides the factors"},
    {"layers_to_transform", "it adapts some layers only"},
    {"layers_pattern", "it adapts some layers only"},
    {"layer_replication", "it repeats layers of the base"},
    {"exclude_modules", "it leaves out modules by name"},
    {"lora_bias", "its factors have biases"},
    {"target_parameters", "it adapts parameters that are no linears"},
    {"trainable_token_indices", "it trains rows of the embedding"},
    {"ensure_weight_tying", "it ties adapters of embedding and head"},
    {"fan_in_fan_out", "its base stores weights transposed"},
    {"alora_invocation_tokens", "it is an activated LoRA"},
    {"arrow_config", "it routes between adapters"},
    {"velora_config", "it is a VeLoRA adapter"},
    {"kasa_config", "it is a KaSA adapter"},
    {"monteclora_config", "it is a MonteCLoRA adapter"},
    {"corda_config", "it changes the base (CorDA)"},
    {"lora_ga_config", "it changes the base (LoRA-GA)"},
    {"megatron_config", "its base is a Megatron model"},
}};

// Starts that put a part of the base's weights into the factors; the base to use is then another one.
constexpr std::array<std::string_view, 5> kChangesBase{"pissa", "olora", "corda", "loftq", "lora_ga"};

bool says_nothing(const Json& value) {
  return value.is_null() || value == false || ((value.is_object() || value.is_array() || value.is_string()) && value.empty());
}

class Reader {
 public:
  Reader(const Json& json, const fs::path& path) : json_(json), path_(path) {}

  const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  [[noreturn]] void wrong(const std::string& key, const char* expected, const Json& found) const {
    throw FormatError(fmt::format("'{}' must be {}, found {}", key, expected, schema::brief(found)), path_.string());
  }
  [[noreturn]] void refuse(const std::string& message) const { throw ConfigError(message, Place{path_.string(), 0, 0, -1}); }

  int64_t rank(const std::string& key, const Json& value) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() < 1 || value.get<uint64_t>() > static_cast<uint64_t>(kMaxRank)) {
      wrong(key, "a rank from 1 to 65536", value);
    }
    return value.get<int64_t>();
  }
  double number(const std::string& key, const Json& value) const {
    if (!value.is_number() || !std::isfinite(value.get<double>())) wrong(key, "a number", value);
    return value.get<double>();
  }
  bool boolean(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) wrong(key, "true or false", *value);
    return value->get<bool>();
  }
  // Patterns are regular expressions that a module's path must end with; nibble takes those that are plain names.
  template <typename Value, typename Read>
  void patterns(const char* key, std::vector<std::pair<std::string, Value>>& into, Read read) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_object()) wrong(key, "an object", *value);
    for (const auto& [pattern, entry] : value->items()) {
      const bool plain = !pattern.empty() && std::all_of(pattern.begin(), pattern.end(), [](unsigned char c) {
        return std::isalnum(c) || c == '_' || c == '.';
      });
      if (!plain) refuse(fmt::format("{} has the pattern '{}'; nibble reads module names there, not regular expressions", key, pattern));
      into.emplace_back(pattern, read(fmt::format("{}.{}", key, pattern), entry));
    }
  }

 private:
  const Json& json_;
  const fs::path& path_;
};

void refuse_unsupported(const Json& json, const Reader& reader) {
  const Json* type = reader.find("peft_type");
  if (type == nullptr || *type != "LORA") {
    reader.refuse(fmt::format("peft_type is {}; nibble reads LORA adapters", type == nullptr ? "missing" : schema::brief(*type)));
  }
  for (const Unsupported& unsupported : kUnsupported) {
    const auto found = json.find(unsupported.key);
    if (found != json.end() && !says_nothing(*found)) {
      reader.refuse(fmt::format("{} is {}: {}, which nibble does not support", unsupported.key, schema::brief(*found), unsupported.what));
    }
  }
  const auto bias = json.find("bias");
  if (bias != json.end() && !bias->is_null() && *bias != "none") {
    reader.refuse(fmt::format("bias is {}: it trains biases, which nibble does not support", schema::brief(*bias)));
  }
  const auto init = json.find("init_lora_weights");
  if (init != json.end() && init->is_string()) {
    const std::string start = init->get<std::string>();
    for (const std::string_view prefix : kChangesBase) {
      if (start.starts_with(prefix)) {
        reader.refuse(fmt::format("init_lora_weights is '{}': its base is not the model it names; save it as a plain adapter "
                                  "(PEFT: path_initial_model_for_weight_conversion)", start));
      }
    }
  }
}

bool matches_end(const std::string& path, const std::string& name) {
  return path == name || (path.size() > name.size() && path.ends_with(name) && path[path.size() - name.size() - 1] == '.');
}

Json number_of(double value) { return value == std::floor(value) && std::abs(value) < 0x1p53 ? Json(static_cast<int64_t>(value)) : Json(value); }

}  // namespace

int64_t AdapterConfig::rank_of(const std::string& path) const {
  for (const auto& [pattern, rank] : rank_pattern) {
    if (matches_end(path, pattern)) return rank;
  }
  return r;
}

float AdapterConfig::scale_of(const std::string& path) const {
  double numerator = alpha;
  for (const auto& [pattern, value] : alpha_pattern) {
    if (matches_end(path, pattern)) {
      numerator = value;
      break;
    }
  }
  const auto rank = static_cast<double>(rank_of(path));
  return static_cast<float>(use_rslora ? numerator / std::sqrt(rank) : numerator / rank);
}

AdapterConfig adapter_config_of(const nn::LoraConfig& lora, const std::string& base) {
  AdapterConfig config;
  config.base_model_name_or_path = base;
  config.r = lora.r;
  config.alpha = lora.alpha;
  config.dropout = lora.dropout;
  config.use_rslora = lora.use_rslora;
  for (const nn::Projection p : lora.targets) config.target_modules.emplace_back(nn::projection_name(p));
  return config;
}

std::string render_adapter_config(const AdapterConfig& config) {
  Json json;
  Json ranks = Json::object(), alphas = Json::object();
  for (const auto& [pattern, rank] : config.rank_pattern) ranks[pattern] = rank;
  for (const auto& [pattern, alpha] : config.alpha_pattern) alphas[pattern] = number_of(alpha);
  json["alpha_pattern"] = alphas;
  json["auto_mapping"] = nullptr;
  json["base_model_name_or_path"] = config.base_model_name_or_path;
  json["bias"] = "none";
  json["fan_in_fan_out"] = false;
  json["inference_mode"] = true;
  json["init_lora_weights"] = true;
  json["layer_replication"] = nullptr;
  json["layers_pattern"] = nullptr;
  json["layers_to_transform"] = nullptr;
  json["loftq_config"] = Json::object();
  json["lora_alpha"] = number_of(config.alpha);
  json["lora_dropout"] = config.dropout;
  json["megatron_config"] = nullptr;
  json["megatron_core"] = "megatron.core";
  json["modules_to_save"] = nullptr;
  json["peft_type"] = "LORA";
  json["r"] = config.r;
  json["rank_pattern"] = ranks;
  json["revision"] = nullptr;
  if (config.target_is_pattern) {
    json["target_modules"] = config.target_modules.at(0);
  } else {
    std::vector<std::string> targets = config.target_modules;
    std::sort(targets.begin(), targets.end());
    json["target_modules"] = targets;
  }
  json["task_type"] = "CAUSAL_LM";
  json["use_dora"] = false;
  json["use_rslora"] = config.use_rslora;
  return json.dump(2, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

AdapterConfig read_adapter_config(const fs::path& folder) {
  const fs::path path = folder / "adapter_config.json";
  expect_inside(folder, path);
  // In the file's order: the first pattern that matches counts.
  const Json json = schema::parse_ordered_json(schema::read_json_text(path), path);
  if (!json.is_object()) throw FormatError("it must hold one JSON object", path.string(), 0);
  const Reader reader(json, path);
  refuse_unsupported(json, reader);
  AdapterConfig config;
  if (const Json* base = reader.find("base_model_name_or_path")) {
    if (!base->is_string()) reader.wrong("base_model_name_or_path", "a string", *base);
    config.base_model_name_or_path = base->get<std::string>();
  }
  // PEFT's own defaults where a key is absent.
  const Json* r = reader.find("r");
  const Json* alpha = reader.find("lora_alpha");
  const Json* dropout = reader.find("lora_dropout");
  config.r = r != nullptr ? reader.rank("r", *r) : 8;
  config.alpha = alpha != nullptr ? reader.number("lora_alpha", *alpha) : 8;
  config.dropout = dropout != nullptr ? reader.number("lora_dropout", *dropout) : 0;
  if (config.dropout < 0 || config.dropout >= 1) reader.wrong("lora_dropout", "at least 0 and below 1", *dropout);
  config.use_rslora = reader.boolean("use_rslora");
  reader.patterns("rank_pattern", config.rank_pattern, [&](const std::string& key, const Json& v) { return reader.rank(key, v); });
  reader.patterns("alpha_pattern", config.alpha_pattern, [&](const std::string& key, const Json& v) { return reader.number(key, v); });
  const Json* targets = reader.find("target_modules");
  if (targets == nullptr) reader.refuse("it has no target_modules, so it does not say what it adapts");
  if (targets->is_string() && !targets->get<std::string>().empty()) {
    config.target_is_pattern = true;
    config.target_modules = {targets->get<std::string>()};
  } else if (targets->is_array() && !targets->empty()) {
    for (const Json& name : *targets) {
      if (!name.is_string() || name.get<std::string>().empty()) reader.wrong("target_modules", "a list of module names", *targets);
      config.target_modules.push_back(name.get<std::string>());
    }
  } else {
    reader.wrong("target_modules", "a list of module names, 'all-linear' or a regular expression", *targets);
  }
  return config;
}

bool is_adapter_folder(const fs::path& folder) {
  std::error_code error;
  return fs::is_regular_file(folder / "adapter_config.json", error);
}

}  // namespace nibble::io
