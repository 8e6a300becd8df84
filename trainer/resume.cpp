#include "trainer/resume.h"

#include <fmt/format.h>

#include <type_traits>

#include "core/error.h"
#include "core/file.h"
#include "io/checkpoint.h"
#include "schema/value.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;

// Every key's value as text, in order, with whether it must match.
struct KeyValue {
  std::string name, value;
  std::string meaning;  // what is compared: the value, but of a path the file that it leads to
  bool must_match;
};

std::string file_meant(const std::string& path) {
  std::error_code error;
  const fs::path real = fs::weakly_canonical(path, error);
  return error ? path : real.string();
}

template <class T>
std::string meaning_of(const T& value, const schema::Field& field) {
  if constexpr (std::is_same_v<T, std::string>) {
    if (field.kind != schema::Kind::kPlain) return value.empty() ? "" : file_meant(value);
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    if (field.kind != schema::Kind::kPlain) {
      std::string files;
      for (const std::string& path : value) files += file_meant(path) + '\n';
      return files;
    }
  }
  return schema::value_text(value);
}

std::vector<KeyValue> key_values(const schema::RunConfig& config) {
  std::vector<KeyValue> all;
  auto collect = [&](const char* name, const auto& value, const schema::Field& field) {
    all.push_back({name, schema::value_text(value), meaning_of(value, field), field.on_resume == schema::OnResume::kMustMatch});
  };
  schema::RunConfig::describe(config, collect);
  return all;
}

// The configuration that the checkpoint was made with.
schema::RunConfig saved_config(const fs::path& checkpoint) {
  try {
    return schema::load_run_config(checkpoint / io::kCheckpointConfigFile, {}, schema::Needs::kNothing).config;
  } catch (const ConfigError& error) {
    throw FormatError(fmt::format("{}\nThe checkpoint's configuration is not one of this version of nibble: continue it with the version that made it, or start a "
                                  "new run from its adapter (adapter_name_or_path)", error.message()), error.place());
  }
}

// Sorts differences into those that were allowed and those that were not.
class Differences {
 public:
  Differences(const AllowedChanges& allowed, int64_t step) : allowed_(allowed), step_(step) {}

  // what: as people read it; name: as --allow-changed has it.
  void add(std::string_view what, const std::string& name, const std::string& before, const std::string& now) {
    if (allowed_.allows(name)) return changes_.push_back({step_, name, before, now});
    wrong_ += fmt::format("\n  {}: {} in the checkpoint, {} now", what, before, now);
    if (AllowedChanges::why_never(name).empty()) advice_ += fmt::format(" --allow-changed {}", name);
  }
  const std::vector<RunChange>& allowed() const { return changes_; }

  // THROWS ConfigError
  void expect_none_else(const fs::path& checkpoint) const {
    if (wrong_.empty()) return;
    std::string ways = "Restore these";
    if (!advice_.empty()) ways += fmt::format(", or go on with what is new by{}", advice_);
    throw ConfigError(fmt::format("this is not the run that the checkpoint belongs to:{}\n{}, or start a new run in another output_dir "
                                  "(adapter_name_or_path: {} starts it from this adapter)", wrong_, ways, checkpoint.string()),
                      {checkpoint.string()});
  }

 private:
  const AllowedChanges& allowed_;
  int64_t step_;
  std::vector<RunChange> changes_;
  std::string wrong_, advice_;
};

}  // namespace

ResumePoint read_resume_point(const fs::path& checkpoint) {
  const fs::path state = checkpoint / io::kTrainerStateFile;
  return {checkpoint, parse_run_state(read_text(state), state.string())};
}

std::optional<ResumePoint> find_resume_point(const fs::path& run_folder, const ResumeChoice& choice,
                                             const std::function<void(const std::string&)>& say) {
  if (!choice.from.empty()) {
    fs::path named = fs::path(choice.from).lexically_normal();
    if (!named.has_filename()) named = named.parent_path();  // "checkpoint-100/"
    const fs::path checkpoint = run_folder / named.filename();
    const io::CheckpointInfo info = io::check_checkpoint(checkpoint, io::CheckDepth::kChecksums);
    if (info.state != io::CheckpointState::kGood) {
      throw FormatError(fmt::format("cannot continue from it: it is {}: {}", io::checkpoint_state_name(info.state), info.reason), checkpoint.string());
    }
    return read_resume_point(checkpoint);
  }
  const io::NewestCheckpoint newest = io::newest_good_checkpoint(run_folder);
  if (!choice.resume) {
    if (newest.found) {
      throw ConfigError(fmt::format("holds {} of an earlier run, which a fresh start would overwrite: continue it with --resume, or choose "
                                    "another output_dir, or delete the folder", newest.found->path.filename().string()),
                        {run_folder.string()});
    }
    return std::nullopt;
  }
  for (const io::CheckpointInfo& skipped : newest.skipped) {
    say(fmt::format("{}: skipped, it is {}: {}", skipped.path.string(), io::checkpoint_state_name(skipped.state), skipped.reason));
  }
  if (!newest.found && !newest.skipped.empty()) {
    throw FormatError(fmt::format("none of its {} checkpoints is good (see above), so there is nothing to continue; restore one, or delete them to start over",
                                  newest.skipped.size()), run_folder.string());
  }
  if (!newest.found) {
    say(fmt::format("{}: no good checkpoint, starting from the beginning", run_folder.string()));
    return std::nullopt;
  }
  return read_resume_point(newest.found->path);
}

std::vector<RunChange> check_same_run(const ResumePoint& point, const schema::LoadedConfig& now, const RunState& inputs,
                                      const AllowedChanges& allowed, const std::function<void(const std::string&)>& say) {
  Differences differences(allowed, point.state.global_step);
  const auto before = key_values(saved_config(point.checkpoint)), after = key_values(now.config);
  for (size_t i = 0; i < after.size(); ++i) {
    if (before[i].value == after[i].value || before[i].meaning == after[i].meaning) continue;
    // A base that moved is the same base; its contents are compared below.
    if (after[i].must_match && after[i].name != "model_name_or_path") {
      differences.add(after[i].name, after[i].name, before[i].value, after[i].value);
    } else {
      say(fmt::format("{} is {} now, it was {}", after[i].name, after[i].value, before[i].value));
    }
  }
  const auto same_hash = [&](const char* what, const char* name, const std::string& then_hash, const std::string& now_hash) {
    if (then_hash != now_hash) differences.add(what, name, "hash " + then_hash, "hash " + now_hash);
  };
  same_hash("the base model", kBaseName, point.state.base_hash, inputs.base_hash);
  same_hash("the training data", kDataName, point.state.data_hash, inputs.data_hash);
  same_hash("the tokenizer", kTokenizerName, point.state.tokenizer_hash, inputs.tokenizer_hash);
  differences.expect_none_else(point.checkpoint);
  return differences.allowed();
}

}  // namespace nibble::trainer
