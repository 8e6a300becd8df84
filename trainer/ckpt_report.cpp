#include "trainer/ckpt_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace nibble::trainer {
namespace fs = std::filesystem;
namespace {

// And not one under the temporary name that it has until it is whole.
bool is_checkpoint(const io::CheckpointInfo& info) { return io::checkpoint_step(info.path.filename().string()).has_value(); }

}  // namespace

std::vector<io::CheckpointInfo> find_checkpoints(const fs::path& folder, io::CheckDepth depth) {
  fs::path named = folder.lexically_normal();
  if (!named.has_filename()) named = named.parent_path();
  std::error_code error;
  if (fs::exists(folder, error) && io::checkpoint_step(named.filename().string())) {
    return {io::check_checkpoint(folder, depth)};
  }
  std::vector<io::CheckpointInfo> found;
  for (io::CheckpointInfo info : io::list_checkpoints(folder, depth)) {
    // A run may be at work: what it replaced or removed while it was looked at is looked at again.
    if (is_checkpoint(info) && info.state != io::CheckpointState::kGood) {
      if (!fs::exists(info.path, error)) continue;
      info = io::check_checkpoint(info.path, depth);
      if (!fs::exists(info.path, error)) continue;
    }
    found.push_back(std::move(info));
  }
  return found;
}

std::string ckpt_json(const std::vector<io::CheckpointInfo>& checkpoints) {
  auto list = nlohmann::ordered_json::array();
  for (const io::CheckpointInfo& info : checkpoints) {
    nlohmann::ordered_json entry{{"path", info.path.string()}, {"step", info.step}, {"state", checkpoint_state_name(info.state)}};
    entry["reason"] = info.reason.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(info.reason);
    list.push_back(std::move(entry));
  }
  // Paths are bytes, JSON is UTF-8: what does not fit is replaced, not refused.
  return nlohmann::ordered_json{{"checkpoints", list}}.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string ckpt_text(const std::vector<io::CheckpointInfo>& checkpoints) {
  std::string text;
  for (const io::CheckpointInfo& info : checkpoints) {
    text += fmt::format("{:<10}  {}{}{}\n", checkpoint_state_name(info.state), info.path.string(),
                        info.reason.empty() ? "" : "  ", info.reason);
  }
  return text;
}

ExitCode ckpt_verdict(const std::vector<io::CheckpointInfo>& checkpoints) {
  const bool good = std::all_of(checkpoints.begin(), checkpoints.end(),
                                [](const auto& info) { return info.state == io::CheckpointState::kGood || !is_checkpoint(info); });
  return good ? ExitCode::kOk : ExitCode::kDamagedFile;
}

}  // namespace nibble::trainer
