#include "schema/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "schema/aliases.h"
#include "schema/value.h"
#include "schema/yaml.h"

namespace nibble::schema {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostFindings = 200;  // nobody reads more, and a hostile file has a hundred thousand

// Every key's name, in order.
const std::vector<std::string>& key_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    RunConfig config;
    auto collect = [&](const char* name, auto&, const Field&) { all.push_back(name); };
    RunConfig::describe(config, collect);
    return all;
  }();
  return names;
}

const Alias* find_alias(std::string_view name) {
  for (const Alias& alias : aliases()) {
    if (alias.name == name) return &alias;
  }
  return nullptr;
}

// Hostile files have keys of a megabyte.
std::string shortened(const std::string& name) { return name.size() <= 80 ? name : name.substr(0, 80) + "..."; }

// Names that are about as near as each other are all told: adam_beta is adam_beta1 or adam_beta2.
std::string did_you_mean(const std::string& name) {
  constexpr size_t kLongest = 64;  // no key is nearly as long
  std::vector<std::string_view> best;
  int64_t nearest = std::min<int64_t>(std::max<int64_t>(2, static_cast<int64_t>(name.size()) / 3), static_cast<int64_t>(name.size()) - 1);
  const auto consider = [&](std::string_view candidate) {
    const int64_t distance = edit_distance(name, candidate);
    if (distance < nearest) best.clear();
    if (distance <= nearest) {
      nearest = distance;
      best.push_back(candidate);
    }
  };
  if (name.size() <= kLongest) {
    for (const std::string& key : key_names()) consider(key);
    for (const Alias& alias : aliases()) consider(alias.name);
  }
  if (best.empty()) return "; `nibble config docs` lists all keys";
  std::string text;
  for (const std::string_view candidate : best) {
    const Alias* alias = find_alias(candidate);
    text += text.empty() ? "; did you mean " : " or ";
    text += alias == nullptr ? fmt::format("'{}'", candidate) : fmt::format("'{}' ('{}' here)", candidate, alias->canonical);
  }
  return text + "?";
}

// The entry as the canonical key would be written; an empty message where the value fits.
std::string translate(const Alias& alias, YamlEntry& entry) {
  const auto boolean = [&](const char* if_true, const char* if_false) -> std::string {
    if (entry.is_list || entry.values.size() != 1) return fmt::format("{} takes one value, not a list", alias.name);
    bool value = false;
    if (std::string wrong = set_value(std::string(alias.name), entry.values[0], value); !wrong.empty()) return wrong;
    entry.values[0].text = value ? if_true : if_false;
    return "";
  };
  const auto is = [&](const char* text) {
    return !entry.is_list && entry.values.size() == 1 && !entry.values[0].quoted && entry.values[0].text == text;
  };
  switch (alias.translate) {
    case Translate::kSame: return "";
    case Translate::kNot: return boolean("false", "true");
    case Translate::kTrueIsBf16:
      if (is("auto")) {
        entry.values[0].text = "bfloat16";
        return "";
      }
      return boolean("bfloat16", "float32");
    case Translate::kTrueIsAuto: return boolean("auto", "none");
    case Translate::kTrueIsNone: return boolean("none", "auto");
    case Translate::kTrueIsAllLinear:
      if (is("true")) {
        entry.values[0].text = "all-linear";
        return "";
      }
      return fmt::format("{}: only true has a meaning here; else list the modules in lora_target_modules", alias.name);
    case Translate::kFourBits:
      if (is("4")) {
        entry.values[0].text = "true";
        return "";
      }
      return fmt::format("{}: only 4 is available; for an unquantized base write load_in_4bit: false", alias.name);
    case Translate::kAllIsAllLinear: {
      if (entry.is_list || entry.values.size() != 1) return "";
      const YamlScalar whole = entry.values[0];
      if (whole.text == "all") {
        entry.values[0].text = "all-linear";
        return "";
      }
      entry.values.clear();
      entry.is_list = true;
      for (size_t begin = 0; begin <= whole.text.size();) {
        const size_t end = std::min(whole.text.find(',', begin), whole.text.size());
        std::string part = whole.text.substr(begin, end - begin);
        part.erase(0, part.find_first_not_of(' '));
        part.erase(part.find_last_not_of(' ') + 1);
        if (!part.empty()) entry.values.push_back({part, whole.quoted, whole.line, whole.column});
        begin = end + 1;
      }
      return "";
    }
  }
  return "";
}

// Where a finding about a value is told.
struct Source {
  std::string file;
  fs::path base;          // relative paths start here
  std::string origin;     // "FILE:LINE" or "--set"
};

class Loader {
 public:
  LoadedConfig loaded;
  std::vector<Finding> findings;

  void entry(YamlEntry entry, const Source& source) {
    const YamlScalar key = entry.key;
    std::string name = key.text;
    std::string origin = source.origin;
    if (const Alias* alias = find_alias(name)) {
      const std::string canonical(alias->canonical);
      if (const std::string wrong = translate(*alias, entry); !wrong.empty()) {
        return report(source, entry.values.empty() ? key : entry.values[0], wrong);
      }
      loaded.notes.push_back(fmt::format("{}: '{}' is read as '{}: {}'", place(source, key), name, canonical, joined(entry)));
      origin += fmt::format(" as {}", name);
      name = canonical;
    }
    if (name == "warmup_steps" && entry.values.size() == 1) {
      // New transformers: a fraction is a ratio of all steps.
      const auto value = parse_number(entry.values[0].text);
      if (value && *value > 0 && *value < 1 && !entry.values[0].quoted) {
        loaded.notes.push_back(fmt::format("{}: 'warmup_steps' below 1 is read as 'warmup_ratio: {}'", place(source, key), entry.values[0].text));
        name = "warmup_ratio";
      }
    }
    if (name == "resume_from_checkpoint" && !entry.is_list && entry.values.size() == 1) {
      YamlScalar& value = entry.values[0];
      if (value.text == "auto") {
        loaded.notes.push_back(fmt::format("{}: 'resume_from_checkpoint: auto' is read as 'resume_from_checkpoint: true'", place(source, key)));
        value = {"true", false, value.line, value.column};
      } else if (value.text.find('/') != value.text.npos || value.text.starts_with("checkpoint-")) {
        return report(source, value, fmt::format("resume_from_checkpoint = {} is a path; write true for output_dir's newest good checkpoint, or name "
                                                 "one with `nibble resume RUN_DIR --from checkpoint-N`", shortened(value.text)));
      }
    }
    for (const KnownElsewhere& other : known_elsewhere()) {
      if (other.name == name) return report(source, key, fmt::format("'{}' is a key of other trainers that nibble does not have: {}", name, other.advice));
    }
    bool found = false;
    auto set = [&](const char* key_name, auto& value, const Field& field) {
      if (name != key_name) return;
      found = true;
      if (const auto at = places_.find(name); at != places_.end() && at->second.source_origin != "--set" && source.origin != "--set") {
        return report(source, key, fmt::format("'{}' is set twice: also in line {}{}; keep one of them", name, at->second.scalar.line,
                                              key.text == name ? "" : fmt::format(" ('{}' is another name of it)", key.text)));
      }
      const YamlScalar where = entry.values.empty() ? key : entry.values[0];
      places_[name] = {where, source.file, source.origin};
      loaded.origins[name] = origin;
      set_entry(name, entry, source, field, value);
    };
    RunConfig::describe(loaded.config, set);
    if (!found) report(source, key, fmt::format("unknown key '{}'{}", shortened(name), findings.size() < kMostFindings ? did_you_mean(name) : ""));
  }

  // What no single value can tell.
  void check(Needs needs, const std::string& file) {
    const RunConfig& c = loaded.config;
    const auto rule = [&](bool ok, const char* key, const std::string& message) {
      if (!ok) at_key(key, file, message);
    };
    if (needs != Needs::kNothing) rule(!c.model_name_or_path.empty(), "model_name_or_path", "model_name_or_path is missing: name a model folder, a GGUF file or a Hub id");
    if (needs == Needs::kTraining) {
      rule(!c.output_dir.empty(), "output_dir", "output_dir is missing: name the folder for checkpoints and metrics");
      rule(!c.train_file.empty(), "train_file", "train_file is missing: name a JSONL file to train on");
    }
    rule((c.bnb_4bit_blocksize & (c.bnb_4bit_blocksize - 1)) == 0, "bnb_4bit_blocksize",
         fmt::format("bnb_4bit_blocksize = {} is not a power of two", c.bnb_4bit_blocksize));
    static const std::vector<std::string> modules{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
    rule(!c.lora_target_modules.empty(), "lora_target_modules", "lora_target_modules is empty: name at least one module, or all-linear");
    for (const std::string& m : c.lora_target_modules) {
      if (std::count(c.lora_target_modules.begin(), c.lora_target_modules.end(), m) > 1) {
        rule(false, "lora_target_modules", fmt::format("lora_target_modules: '{}' is listed twice", m));
        break;
      }
      rule(std::count(modules.begin(), modules.end(), m) > 0 || (m == "all-linear" && c.lora_target_modules.size() == 1), "lora_target_modules",
           fmt::format("lora_target_modules: '{}' is not all-linear (alone) or one of {}", m, fmt::join(modules, ", ")));
    }
    const bool has_eval = !c.validation_file.empty() || c.validation_split_ratio > 0;
    rule(c.eval_strategy == EvalStrategy::kNo || has_eval, "eval_strategy",
         "eval_strategy needs evaluation data: set validation_file or validation_split_ratio");
    rule(c.validation_file.empty() || c.validation_split_ratio == 0, "validation_split_ratio",
         "validation_file and validation_split_ratio are both set; keep one");
    rule(c.train_file_weights.empty() || c.train_file_weights.size() == c.train_file.size(), "train_file_weights",
         fmt::format("train_file_weights has {} numbers and train_file {} files; give one number for each file", c.train_file_weights.size(), c.train_file.size()));
    rule(!c.group_by_length || !c.packing, "group_by_length", "group_by_length is for rows of one document, and packing fills rows to the same length; set packing: false, or remove it");
    rule(!c.group_by_length || c.shuffle, "group_by_length", "group_by_length arranges a shuffled order, but shuffle is false; keep one of them");
    rule(!c.train_on_last_turn_only || c.assistant_only_loss, "train_on_last_turn_only",
         "train_on_last_turn_only trains on less, assistant_only_loss: false on more than the answers; keep one of them");
    rule(c.completion_only_loss != AutoSwitch::kTrue || c.dataset_format == DatasetFormat::kAuto || c.dataset_format == DatasetFormat::kPromptCompletion,
         "completion_only_loss", fmt::format("completion_only_loss: true is for prompt-completion rows, and dataset_format is {}", enum_name(c.dataset_format)));
    rule(c.max_steps != 0, "max_steps", "max_steps = 0 trains nothing; -1 means by num_train_epochs");
    rule(c.max_steps > 0 || c.num_train_epochs > 0, "num_train_epochs", "num_train_epochs = 0 trains nothing");
    const bool affixes = has_template_affixes(c);
    rule(!affixes || c.chat_template_path == TemplateChoice(), "chat_template_path",
         "chat_template_path and the chat_template_*_prefix and _suffix keys each say how conversations are written; keep one of them");
    rule(!affixes || !(c.chat_template_user_prefix + c.chat_template_user_suffix + c.chat_template_assistant_prefix).empty(), "chat_template_assistant_prefix",
         "chat_template_assistant_prefix, chat_template_user_prefix and chat_template_user_suffix are all empty: nothing would tell a question from its answer");
    rule(c.lora_alpha > 0, "lora_alpha", "lora_alpha = 0 trains nothing: the update's factor is lora_alpha / lora_r");
  }

 private:
  struct KeyPlace {
    YamlScalar scalar;
    std::string file, source_origin;
  };

  static std::string place(const Source& source, const YamlScalar& s) {
    return s.line == 0 ? source.file : fmt::format("{}:{}:{}", source.file, s.line, s.column);
  }
  static std::string joined(const YamlEntry& entry) {
    std::vector<std::string> texts;
    for (const YamlScalar& v : entry.values) texts.push_back(v.text);
    return entry.is_list ? fmt::format("[{}]", fmt::join(texts, ", ")) : fmt::format("{}", fmt::join(texts, ", "));
  }

  void report(const Source& source, const YamlScalar& at, const std::string& message) {
    findings.push_back({source.file, at.line, at.column, message});
  }

  void at_key(const std::string& key, const std::string& file, const std::string& message) {
    const auto at = places_.find(key);
    if (at == places_.end()) {
      findings.push_back({file, 0, 0, message});
    } else {
      findings.push_back({at->second.file, at->second.scalar.line, at->second.scalar.column, message});
    }
  }

  template <class T>
  void set_entry(const std::string& name, const YamlEntry& entry, const Source& source, const Field& field, T& value) {
    if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      value.clear();
      for (const YamlScalar& s : entry.values) {
        std::string item;
        if (const std::string wrong = set_value(name, s, item); !wrong.empty()) {
          report(source, s, wrong);
        } else if (item.empty()) {
          report(source, s, fmt::format("{}: an empty text names nothing", name));
        } else {
          value.push_back(resolve(item, field.kind, source));
        }
      }
    } else if constexpr (std::is_same_v<T, std::vector<double>>) {
      value.clear();
      for (const YamlScalar& s : entry.values) {
        double item = 0;
        if (const std::string wrong = set_value(name, s, item); !wrong.empty()) {
          report(source, s, wrong);
        } else {
          check_range(name, item, field, source, s);
          value.push_back(item);
        }
      }
    } else {
      if (entry.is_list) return report(source, entry.key, fmt::format("{} takes one value, not a list", name));
      const YamlScalar s = entry.values.empty() ? YamlScalar{"", false, entry.key.line, entry.key.column} : entry.values[0];
      if (const std::string wrong = set_value(name, s, value); !wrong.empty()) return report(source, s, wrong);
      if constexpr (std::is_same_v<T, std::string>) value = resolve(value, field.kind, source);
      if constexpr (std::is_same_v<T, TemplateChoice>) value.path = resolve(value.path, Kind::kPath, source);
      if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double>) check_range(name, value, field, source, s);
    }
  }

  template <class Number>
  void check_range(const std::string& name, Number value, const Field& field, const Source& source, const YamlScalar& s) {
    const auto v = static_cast<double>(value);
    if (v >= field.min && v <= field.max) return;
    report(source, s, fmt::format("{} = {} is outside {}..{}{}{} ({})", name, s.text, field.min, field.max, *field.unit ? " " : "",
                                  field.unit, field.doc));
  }

  static std::string resolve(const std::string& text, Kind kind, const Source& source) {
    if (kind == Kind::kPlain || text.empty()) return text;
    fs::path path(text);
    if (text.starts_with("~/")) {
      if (const char* home = std::getenv("HOME")) path = fs::path(home) / text.substr(2);
    }
    const fs::path absolute = fs::absolute(path.is_absolute() ? path : source.base / path).lexically_normal();
    // "org/name" is a Hub id unless it is there as a path.
    std::error_code ignored;
    const bool hub_form = std::count(text.begin(), text.end(), '/') == 1 && text.front() != '.' && text.front() != '/' && text.front() != '~';
    if (kind == Kind::kPathOrHubId && hub_form && !fs::exists(absolute, ignored)) return text;
    return absolute.string();
  }

  std::map<std::string, KeyPlace> places_;
};

void add_overrides(Loader& loader, const std::vector<std::string>& overrides) {
  for (const std::string& text : overrides) {
    const Source source{"--set " + text, fs::current_path(), "--set"};
    const size_t equals = text.find('=');
    if (equals == text.npos || equals == 0) {
      loader.findings.push_back({source.file, 0, 0, "write --set key=value"});
      continue;
    }
    std::vector<Finding> wrong;
    std::vector<YamlEntry> entries = read_yaml("value: " + text.substr(equals + 1), source.file, wrong);
    if (!wrong.empty() || entries.size() != 1) {
      loader.findings.push_back({source.file, 0, 0, wrong.empty() ? "not one value" : wrong.back().message});
      continue;
    }
    entries[0].key = {text.substr(0, equals), false, 0, 0};
    for (YamlScalar& v : entries[0].values) v.line = v.column = 0;
    loader.entry(entries[0], source);
  }
}

LoadedConfig finish(Loader& loader, Needs needs, const std::string& file) {
  if (loader.findings.empty()) loader.check(needs, file);
  if (loader.findings.empty()) return std::move(loader.loaded);
  std::stable_sort(loader.findings.begin(), loader.findings.end(), [](const Finding& a, const Finding& b) { return std::pair(a.line, a.column) < std::pair(b.line, b.column); });
  // The first finding's place is the error's; the others follow in the same form.
  const Finding& first = loader.findings[0];
  std::string message = first.message;
  const size_t count = loader.findings.size();
  for (size_t i = 1; i < std::min(count, kMostFindings); ++i) message += "\n" + loader.findings[i].text();
  if (count > kMostFindings) message += fmt::format("\n{}: error: and {} findings more", file, count - kMostFindings);
  throw ConfigError(message, {first.file, first.line, first.column, -1});
}

}  // namespace

LoadedConfig load_run_config(const fs::path& file, const std::vector<std::string>& overrides, Needs needs) {
  Loader loader;
  loader.loaded.file = file;
  std::error_code ignored;
  if (!fs::exists(file, ignored)) throw ConfigError("no such configuration file", {file.string()});
  if (fs::is_directory(file, ignored)) throw ConfigError("is a folder; name a YAML file", {file.string()});
  // Told before the file is read: it may be a disk image. What has no size (a pipe) is read_text's to refuse.
  if (const auto bytes = fs::file_size(file, ignored); !ignored && bytes > kMaxYamlBytes) {
    throw ConfigError(fmt::format("the file has {} bytes; a configuration has at most {}", bytes, kMaxYamlBytes), {file.string()});
  }
  const std::string text = read_text(file);
  for (YamlEntry& entry : read_yaml(text, file.string(), loader.findings)) {
    loader.entry(entry, {file.string(), fs::absolute(file).parent_path(), fmt::format("{}:{}", file.filename().string(), entry.key.line)});
  }
  add_overrides(loader, overrides);
  return finish(loader, needs, file.string());
}

LoadedConfig load_overrides(const std::vector<std::string>& overrides, Needs needs) {
  Loader loader;
  add_overrides(loader, overrides);
  return finish(loader, needs, "configuration");
}

std::vector<std::pair<std::string, std::string>> resume_keys(const RunConfig& config) {
  std::vector<std::pair<std::string, std::string>> keys;
  auto collect = [&](const char* name, const auto& value, const Field& field) {
    if (field.on_resume == OnResume::kMustMatch) keys.emplace_back(name, value_text(value));
  };
  RunConfig::describe(config, collect);
  return keys;
}

}  // namespace nibble::schema
