// What a resumed run may have changed although it must match: named one by one on the command line, --allow-changed NAME.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace nibble::trainer {

// Beside the keys of the configuration; compared by their hashes.
inline constexpr const char* kBaseName = "base";
inline constexpr const char* kDataName = "data";
inline constexpr const char* kTokenizerName = "tokenizer";

class AllowedChanges {
 public:
  AllowedChanges() = default;
  // THROWS ConfigError for a name that is none of these, is a key that may differ anyway, or is part of what a checkpoint holds.
  explicit AllowedChanges(std::vector<std::string> names);

  bool empty() const { return names_.empty(); }
  bool allows(std::string_view name) const;

  // "" where a change of it can be allowed, else why it cannot: the checkpoint's own tensors are of it.
  static std::string why_never(std::string_view name);

 private:
  std::vector<std::string> names_;
};

// The option --allow-changed of `train` and `resume`.
void add_allow_changed(CLI::App& app, std::vector<std::string>& names);

}  // namespace nibble::trainer
