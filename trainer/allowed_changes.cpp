#include "trainer/allowed_changes.h"

#include <CLI/CLI.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/error.h"
#include "schema/run_config.h"
#include "schema/scalar.h"

namespace nibble::trainer {
namespace {

constexpr std::array<const char*, 3> kHashed{kBaseName, kDataName, kTokenizerName};

struct Key {
  std::string name;
  bool must_match;
};
std::vector<Key> all_keys() {
  std::vector<Key> keys;
  const auto collect = [&](const char* name, const auto&, const schema::Field& field) {
    keys.push_back({name, field.on_resume == schema::OnResume::kMustMatch});
  };
  const schema::RunConfig config;
  schema::RunConfig::describe(config, collect);
  return keys;
}

std::string nearest(const std::string& name, const std::vector<Key>& keys) {
  std::string best;
  int64_t distance = 4;
  const auto consider = [&](const std::string& candidate) {
    const int64_t d = schema::edit_distance(name, candidate);
    if (d < distance) {
      distance = d;
      best = candidate;
    }
  };
  for (const Key& key : keys) consider(key.name);
  for (const char* other : kHashed) consider(other);
  return best.empty() ? "" : fmt::format("; did you mean '{}'?", best);
}

}  // namespace

AllowedChanges::AllowedChanges(std::vector<std::string> names) : names_(std::move(names)) {
  constexpr size_t kLongestName = 64;  // no key is nearly as long
  const std::vector<Key> keys = all_keys();
  for (const std::string& name : names_) {
    if (std::find(kHashed.begin(), kHashed.end(), name) != kHashed.end()) continue;
    const auto key = std::find_if(keys.begin(), keys.end(), [&](const Key& k) { return k.name == name; });
    if (key == keys.end()) {
      const std::string shown = name.substr(0, kLongestName);
      throw ConfigError(fmt::format("--allow-changed {}: name a key of the configuration, or base, data or tokenizer{}", shown, nearest(shown, keys)));
    }
    if (name == "model_name_or_path") throw ConfigError("--allow-changed model_name_or_path: a base may lie elsewhere anyway; where it is another one, write --allow-changed base");
    if (!key->must_match) throw ConfigError(fmt::format("--allow-changed {}: this key may differ anyway; leave it away", name));
    if (const std::string why = why_never(name); !why.empty()) throw ConfigError(fmt::format("--allow-changed {}: {}", name, why));
  }
}

bool AllowedChanges::allows(std::string_view name) const { return std::find(names_.begin(), names_.end(), name) != names_.end(); }

std::string AllowedChanges::why_never(std::string_view name) {
  for (const std::string_view adapter : {"lora_r", "lora_alpha", "lora_target_modules", "use_rslora"}) {
    if (name == adapter) return "the checkpoint's adapter is made with it; start a new run with another one";
  }
  if (name == "optim") return "the checkpoint holds the state of that optimizer; start a new run from its adapter (adapter_name_or_path) with another one";
  return "";
}

void add_allow_changed(CLI::App& app, std::vector<std::string>& names) {
  app.add_option("--allow-changed", names, "Go on although this is not as it was: a key that must match, or base, data, tokenizer; may be repeated")
      ->type_name("NAME")->take_all()->expected(1);
}

}  // namespace nibble::trainer
