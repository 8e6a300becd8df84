#include "trainer/resume.h"

#include <fmt/format.h>

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
  bool must_match;
};
std::vector<KeyValue> key_values(const schema::RunConfig& config) {
  std::vector<KeyValue> all;
  auto collect = [&](const char* name, const auto& value, const schema::Field& field) {
    all.push_back({name, schema::value_text(value), field.on_resume == schema::OnResume::kMustMatch});
  };
  schema::RunConfig::describe(config, collect);
  return all;
}

}  // namespace

ResumePoint read_resume_point(const fs::path& checkpoint) {
  const fs::path state = checkpoint / io::kTrainerStateFile;
  return {checkpoint, parse_run_state(read_text(state), state.string())};
}

std::optional<ResumePoint> find_resume_point(const fs::path& run_folder, const ResumeChoice& choice,
                                             const std::function<void(const std::string&)>& say) {
  if (!choice.from.empty()) {
    const fs::path checkpoint = run_folder / fs::path(choice.from).filename();
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
  if (!newest.found) {
    say(fmt::format("{}: no good checkpoint, starting from the beginning", run_folder.string()));
    return std::nullopt;
  }
  return read_resume_point(newest.found->path);
}

void check_same_run(const ResumePoint& point, const schema::LoadedConfig& now, const RunState& inputs,
                    const std::function<void(const std::string&)>& say) {
  std::string wrong;
  const auto differs = [&](std::string_view what, std::string_view then_value, std::string_view now_value) {
    wrong += fmt::format("\n  {}: {} in the checkpoint, {} now", what, then_value, now_value);
  };
  const fs::path saved = point.checkpoint / io::kCheckpointConfigFile;
  const auto before = key_values(schema::load_run_config(saved, {}, schema::Needs::kNothing).config), after = key_values(now.config);
  for (size_t i = 0; i < after.size(); ++i) {
    if (before[i].value == after[i].value) continue;
    // A base that moved is the same base; its contents are compared below.
    if (after[i].must_match && after[i].name != "model_name_or_path") {
      differs(after[i].name, before[i].value, after[i].value);
    } else {
      say(fmt::format("{} is {} now, it was {}", after[i].name, after[i].value, before[i].value));
    }
  }
  const auto same_hash = [&](const char* what, const std::string& then_hash, const std::string& now_hash) {
    if (then_hash != now_hash) differs(what, "hash " + then_hash, "hash " + now_hash);
  };
  same_hash("the base model", point.state.base_hash, inputs.base_hash);
  same_hash("the training data", point.state.data_hash, inputs.data_hash);
  same_hash("the tokenizer", point.state.tokenizer_hash, inputs.tokenizer_hash);
  if (wrong.empty()) return;
  throw ConfigError(fmt::format("this is not the run that the checkpoint belongs to:{}\nRestore these, or start a new run in another "
                                "output_dir (adapter_name_or_path: {} starts it from this adapter)", wrong, point.checkpoint.string()),
                    {point.checkpoint.string()});
}

}  // namespace nibble::trainer
