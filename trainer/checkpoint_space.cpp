#include "trainer/checkpoint_space.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/disk_space.h"
#include "io/checkpoint.h"
#include "io/safetensors.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kTextBytes = 64 << 10;  // configuration, state with its history, manifest, the tensors' names
constexpr const char* kAdvice = "free some space, lower save_total_limit or lora_r, or set output_dir to a folder on another disk";

int64_t good_checkpoints(const std::filesystem::path& run_folder) {
  const auto all = io::list_checkpoints(run_folder, io::CheckDepth::kSizes);
  return std::count_if(all.begin(), all.end(), [](const io::CheckpointInfo& info) { return info.state == io::CheckpointState::kGood; });
}

// That are on the disk at the worst moment and are not there now.
int64_t checkpoints_to_come(const schema::RunConfig& config, const RunState& state, int64_t there) {
  const int64_t steps = std::max<int64_t>(1, state.max_steps - state.global_step);
  const int64_t saves = config.save_steps > 0 ? (steps + config.save_steps - 1) / config.save_steps : 1;
  if (config.save_total_limit <= 0) return saves;
  // The oldest goes when the new one is safe.
  return std::max<int64_t>(1, std::min(saves, config.save_total_limit + 1 - there));
}

}  // namespace

int64_t checkpoint_bytes(const nn::Model& model, const optim::Optimizer& optimizer) {
  int64_t bytes = kTextBytes;
  model.each_lora([&](const std::string&, const nn::Lora& lora) { bytes += static_cast<int64_t>(lora.a.nbytes() + lora.b.nbytes()); });
  for (const optim::StateInfo& state : optimizer.state_info()) {
    bytes += io::checked_bytes(state.shape, state.is_codes ? DType::kU8 : DType::kF32);
  }
  return bytes;
}

void expect_room_to_save(const std::filesystem::path& run_folder, int64_t step, int64_t bytes) {
  expect_disk_space(run_folder, bytes, io::checkpoint_name(step), kAdvice);
}

std::optional<std::string> foresee_checkpoints(const schema::RunConfig& config, const std::filesystem::path& run_folder, const RunState& state,
                                               int64_t bytes) {
  expect_disk_space(run_folder, bytes, "a checkpoint", kAdvice);
  const auto free = free_disk_bytes(run_folder);
  const int64_t more = checkpoints_to_come(config, state, good_checkpoints(run_folder));
  if (!free || more * bytes <= *free) return std::nullopt;
  return fmt::format("warning: the run will have {} more checkpoints of {} at a time, and {} are free on their disk, so a later one will fail; {}", more,
                     disk_bytes_text(bytes), disk_bytes_text(*free), kAdvice);
}

}  // namespace nibble::trainer
