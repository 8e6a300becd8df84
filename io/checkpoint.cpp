#include "io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>
#include <system_error>

#include "core/durable_names.h"
#include "core/error.h"
#include "core/file.h"
#include "core/inside_folder.h"
#include "io/checkpoint_manifest.h"

namespace nibble::io {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPrefix = "checkpoint-";
constexpr uintmax_t kLargestManifest = 1 << 20;  // bytes; ours have a few hundred
constexpr std::array<const char*, 5> kRequiredFiles{"adapter_config.json", "adapter_model.safetensors", kOptimizerFile,
                                                    kTrainerStateFile, kCheckpointConfigFile};

void write_file(const fs::path& path, std::string_view text) {
  FileWriter writer(path);
  writer.write(text);
  writer.close();
}

Manifest manifest_of(const fs::path& folder, int64_t step) {
  Manifest manifest;
  manifest.step = step;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || !is_plain_file_name(name)) {
      throw std::logic_error(fmt::format("a checkpoint holds plain files only, not '{}'", name));
    }
    manifest.files[name] = {static_cast<int64_t>(entry.file_size()), file_xxh3_128(entry.path())};
  }
  for (const char* name : kRequiredFiles) {
    if (manifest.files.count(name) == 0) throw std::logic_error(fmt::format("the checkpoint's '{}' was not written", name));
  }
  return manifest;
}

// The verdict on a folder: throws nothing, since a file that cannot be read is a verdict too.
struct Verdict {
  CheckpointState state = CheckpointState::kGood;
  std::string reason;
};

Verdict incomplete(std::string reason) { return {CheckpointState::kIncomplete, std::move(reason)}; }
Verdict damaged(std::string reason) { return {CheckpointState::kDamaged, std::move(reason)}; }

Verdict check_file(const fs::path& path, const ManifestEntry& entry, CheckDepth depth) {
  const std::string name = path.filename().string();
  if (!fs::exists(path)) return incomplete(fmt::format("{} is missing", name));
  if (!fs::is_regular_file(path)) return damaged(fmt::format("{} is not a file", name));
  if (const fs::path target = leads_out_of(path.parent_path(), path); !target.empty()) {
    return damaged(fmt::format("{} is a link to {}, outside of the checkpoint", name, target.string()));
  }
  const auto size = fs::file_size(path);
  if (size != static_cast<uintmax_t>(entry.size)) {
    return damaged(fmt::format("{} has {} bytes, its manifest says {}", name, size, entry.size));
  }
  if (depth == CheckDepth::kChecksums) {
    const std::string found = file_xxh3_128(path);
    if (found != entry.xxh3_128) {
      return damaged(fmt::format("{} was changed: its XXH3-128 is {}, its manifest says {}", name, found, entry.xxh3_128));
    }
  }
  return {};
}

Verdict check_folder(const fs::path& folder, int64_t step, CheckDepth depth) {
  if (!fs::is_directory(folder)) return damaged("not a folder");
  const fs::path manifest_path = folder / kManifestFile;
  if (!fs::exists(manifest_path)) {
    return incomplete(fmt::format("{} is missing: whatever wrote or copied this folder did not finish", kManifestFile));
  }
  if (!fs::is_regular_file(manifest_path) || fs::file_size(manifest_path) > kLargestManifest) {
    return damaged(fmt::format("{} is not a manifest", kManifestFile));
  }
  expect_inside(folder, manifest_path);
  const Manifest manifest = parse_manifest(read_text(manifest_path), manifest_path);
  if (manifest.step != step) {
    return damaged(fmt::format("its manifest is of step {}: the folder was renamed or mixed up", manifest.step));
  }
  for (const char* name : kRequiredFiles) {
    if (manifest.files.count(name) == 0) return damaged(fmt::format("its manifest does not list {}", name));
  }
  // Missing files first: a folder that lacks one is incomplete, whatever else is wrong with it.
  Verdict worst;
  for (const auto& [name, entry] : manifest.files) {
    Verdict verdict = check_file(folder / name, entry, depth);
    if (verdict.state == CheckpointState::kIncomplete) return verdict;
    if (verdict.state == CheckpointState::kDamaged && worst.state == CheckpointState::kGood) worst = std::move(verdict);
  }
  return worst;
}

Verdict verdict_on(const fs::path& folder, int64_t step, CheckDepth depth) {
  try {
    return check_folder(folder, step, depth);
  } catch (const Error& error) {
    return damaged(fmt::format("{}: {}", fs::path(error.place().file).filename().string(), error.message()));
  } catch (const fs::filesystem_error& error) {
    return damaged(fmt::format("cannot be read: {}", error.code().message()));
  }
}

// What is in the run folder by name alone.
std::vector<CheckpointInfo> find_checkpoints(const fs::path& run_folder) {
  std::error_code error;
  fs::directory_iterator entries(run_folder, error);
  if (error) throw IoError("cannot list the run folder", run_folder.string(), error.value());
  std::vector<CheckpointInfo> found;
  for (const auto& entry : entries) {
    if (const auto step = checkpoint_step(entry.path().filename().string())) found.push_back({entry.path(), *step, {}, {}});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

// "checkpoint-7" for ".checkpoint-7.partial".
std::optional<int64_t> partial_step(const fs::path& path) {
  const std::string name = path.filename().string();
  for (size_t dot = 1; dot < name.size(); ++dot) {
    if (name[0] != '.' || name[dot] != '.') continue;
    const std::string final_name = name.substr(1, dot - 1);
    if (StagedFolder::staging_name(path.parent_path() / final_name).filename() == path.filename()) {
      return checkpoint_step(final_name);
    }
  }
  return std::nullopt;
}

}  // namespace

std::string checkpoint_name(int64_t step) { return fmt::format("{}{}", kPrefix, step); }

std::optional<int64_t> checkpoint_step(std::string_view name) {
  if (name.substr(0, kPrefix.size()) != kPrefix) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  // Only the spelling that we write: "checkpoint-007" or "checkpoint--1" are not ours.
  if (error != std::errc() || end != digits.data() + digits.size() || checkpoint_name(step) != name || step < 0) {
    return std::nullopt;
  }
  return step;
}

const char* checkpoint_state_name(CheckpointState state) {
  switch (state) {
    case CheckpointState::kGood: return "good";
    case CheckpointState::kIncomplete: return "incomplete";
    case CheckpointState::kDamaged: return "damaged";
  }
  return "";
}

fs::path save_checkpoint(const fs::path& run_folder, int64_t step, const CheckpointContent& content) {
  const fs::path final_path = run_folder / checkpoint_name(step);
  try {
    StagedFolder folder(final_path);
    content.write_adapter(folder.path());
    content.write_optimizer(folder.path());
    write_file(folder.path() / kTrainerStateFile, content.trainer_state);
    write_file(folder.path() / kCheckpointConfigFile, content.config);
    write_file(folder.path() / kManifestFile, render_manifest(manifest_of(folder.path(), step)));
    folder.commit();
  } catch (const IoError& error) {
    throw IoError(fmt::format("saving {} failed: {}; earlier checkpoints are unchanged, make room or fix the folder and "
                              "continue with --resume",
                              checkpoint_name(step), error.message()),
                  error.place().file);
  } catch (const fs::filesystem_error& error) {
    throw IoError(fmt::format("saving {} failed; earlier checkpoints are unchanged", checkpoint_name(step)),
                  error.path1().string(), error.code().value());
  }
  return final_path;
}

CheckpointInfo check_checkpoint(const fs::path& folder, CheckDepth depth) {
  // A path may end in a slash, or be "." inside the checkpoint.
  std::error_code error;
  fs::path named = fs::absolute(folder, error).lexically_normal();
  if (!named.has_filename()) named = named.parent_path();
  const auto step = checkpoint_step(named.filename().string());
  if (!step) return {folder, 0, CheckpointState::kDamaged, "its name is not checkpoint-<step>"};
  if (!fs::exists(folder, error)) return {folder, *step, CheckpointState::kIncomplete, "there is no such folder"};
  Verdict verdict = verdict_on(folder, *step, depth);
  return {folder, *step, verdict.state, std::move(verdict.reason)};
}

std::vector<CheckpointInfo> list_checkpoints(const fs::path& run_folder, CheckDepth depth) {
  std::vector<CheckpointInfo> all = find_checkpoints(run_folder);
  for (CheckpointInfo& info : all) info = check_checkpoint(info.path, depth);
  for (const auto& entry : fs::directory_iterator(run_folder)) {
    if (const auto step = partial_step(entry.path())) {
      all.push_back({entry.path(), *step, CheckpointState::kIncomplete,
                     "being written now, or left by a run that was killed while saving"});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return all;
}

NewestCheckpoint newest_good_checkpoint(const fs::path& run_folder, int64_t last_step) {
  NewestCheckpoint newest;
  const auto all = find_checkpoints(run_folder);
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    if (it->step > last_step) continue;
    CheckpointInfo info = check_checkpoint(it->path, CheckDepth::kChecksums);
    if (info.state == CheckpointState::kGood) {
      newest.found = std::move(info);
      break;
    }
    newest.skipped.push_back(std::move(info));
  }
  return newest;
}

std::vector<fs::path> rotate_checkpoints(const fs::path& run_folder, int64_t limit, const fs::path& newest,
                                         const fs::path& best) {
  std::vector<fs::path> deleted;
  if (limit <= 0) return deleted;
  std::vector<CheckpointInfo> good;
  for (const CheckpointInfo& found : find_checkpoints(run_folder)) {
    CheckpointInfo info = check_checkpoint(found.path, CheckDepth::kSizes);
    if (info.state == CheckpointState::kGood) good.push_back(std::move(info));
  }
  auto excess = static_cast<int64_t>(good.size()) - limit;
  for (const CheckpointInfo& info : good) {
    if (excess <= 0) break;
    const fs::path name = info.path.filename();
    if (name == newest.filename() || name == best.filename()) continue;
    remove_checkpoint(info.path);
    deleted.push_back(info.path);
    --excess;
  }
  return deleted;
}

void remove_checkpoint(const fs::path& folder) {
  const fs::path doomed = StagedFolder::staging_name(folder);
  std::error_code error;
  fs::remove_all(doomed, error);  // a leftover of the same name; the rename below tells if it is still there
  fs::rename(folder, doomed, error);
  // Or a power cut may bring the name back after its files went.
  if (!error) sync_folder(folder.parent_path(), error);
  if (!error) fs::remove_all(doomed, error);
  if (error) throw IoError("cannot delete the old checkpoint", folder.string(), error.value());
}

}  // namespace nibble::io
