// Checkpoints: run folder/checkpoint-<step>/, each a usable PEFT adapter with what resuming needs beside it.
//
//   adapter_config.json, adapter_model.safetensors   the adapter, directly inside, so that Hugging Face tools load it
//   optimizer.safetensors                            masters and moments (io/optimizer_state.h)
//   trainer_state.json                               step, data cursor, seed, hashes, history (trainer/run_state.h)
//   config.yaml                                      the effective configuration
//   MANIFEST.json                                    size and XXH3-128 of each file, written last
//
// A checkpoint is written under a temporary name and renamed when everything is on disk: under its final name it is
// whole, or somebody changed it afterwards. Reading trusts nothing: state is good, incomplete (something is missing) or
// damaged (something is not what the manifest says).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::io {

inline constexpr const char* kTrainerStateFile = "trainer_state.json";
inline constexpr const char* kOptimizerFile = "optimizer.safetensors";
inline constexpr const char* kCheckpointConfigFile = "config.yaml";

std::string checkpoint_name(int64_t step);                          // "checkpoint-100"
std::optional<int64_t> checkpoint_step(std::string_view name);      // nullopt: not a checkpoint's name

// What goes into a checkpoint. The callbacks write their files into the folder given.
struct CheckpointContent {
  std::string trainer_state;  // JSON
  std::string config;         // YAML
  std::function<void(const std::filesystem::path& folder)> write_adapter;
  std::function<void(const std::filesystem::path& folder)> write_optimizer;
};

// Writes run_folder/checkpoint-<step> and returns its path; one of the same step is replaced.
// THROWS IoError where the disk is full or refuses; then nothing of the new checkpoint is left and older ones are as
// they were.
std::filesystem::path save_checkpoint(const std::filesystem::path& run_folder, int64_t step,
                                      const CheckpointContent& content);

enum class CheckpointState : uint8_t { kGood, kIncomplete, kDamaged };
const char* checkpoint_state_name(CheckpointState state);  // "good", "incomplete", "damaged"

// kSizes: the manifest, and every file's presence and size. kChecksums: every byte.
enum class CheckDepth : uint8_t { kSizes, kChecksums };

struct CheckpointInfo {
  std::filesystem::path path;
  int64_t step = 0;
  CheckpointState state = CheckpointState::kGood;
  std::string reason;  // empty when good
};

CheckpointInfo check_checkpoint(const std::filesystem::path& folder, CheckDepth depth);

// All checkpoints of a run folder by rising step, with half-written ones under their temporary names as incomplete.
// THROWS IoError where run_folder cannot be read.
std::vector<CheckpointInfo> list_checkpoints(const std::filesystem::path& run_folder, CheckDepth depth);

struct NewestCheckpoint {
  std::optional<CheckpointInfo> found;   // every byte checked
  std::vector<CheckpointInfo> skipped;   // newer ones that are not good, newest first
};
// Of those at or before `last_step`; others are not looked at.
NewestCheckpoint newest_good_checkpoint(const std::filesystem::path& run_folder,
                                        int64_t last_step = std::numeric_limits<int64_t>::max());

// Deletes the oldest good checkpoints until `limit` are left, but never `newest` (the one just saved) nor `best` (may be
// empty). Call it when the new one is safe. limit <= 0 keeps all. Checkpoints that are not good neither count nor go:
// they are the user's to look at. Returns what was deleted. THROWS IoError
std::vector<std::filesystem::path> rotate_checkpoints(const std::filesystem::path& run_folder, int64_t limit,
                                                      const std::filesystem::path& newest,
                                                      const std::filesystem::path& best);

// Deletes a checkpoint so that a kill at any moment leaves it whole or under its temporary name. THROWS IoError
void remove_checkpoint(const std::filesystem::path& folder);

}  // namespace nibble::io
