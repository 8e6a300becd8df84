// Whether two runs of one configuration came to the same bits: what `nibble verify-resume` is about.
//
// Compared are, of the checkpoint of one step, every tensor of adapter and optimizer with its file's metadata, adapter_config.json, and
// every field of trainer_state.json; and every row of metrics.jsonl. Left out is what a repeated run may have otherwise: fields that
// the machine's speed or memory enters (trainer/metrics.h), and what the planner chose, which changes no number.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace nibble::trainer {

struct RunDifference {
  std::string where;          // "optimizer.safetensors: model...lora_A.weight.master [3, 17]"
  std::string first, second;  // both values
};

struct RunComparison {
  int64_t tensors = 0;
  int64_t values = 0;         // of the tensors
  int64_t state_fields = 0;
  int64_t metrics_rows = 0;
  std::optional<RunDifference> difference;  // the first one; what follows it was not looked at
};

// THROWS IoError, FormatError where one of them has no such checkpoint or it cannot be read.
RunComparison compare_runs(const std::filesystem::path& first, const std::filesystem::path& second, int64_t step);

}  // namespace nibble::trainer
