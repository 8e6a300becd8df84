// A workshop one of whose rows makes every step that has it go wrong, to NaN.
#pragma once

#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/trainer/run_binary.h"
#include "trainer/metrics.h"

namespace nibble::test {

// Writes `value` into one number of an fp32 tensor of a safetensors file.
inline void plant(const std::filesystem::path& file, const std::string& tensor, int64_t index, float value) {
  std::string bytes = file_bytes(file);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto json = nlohmann::json::parse(bytes.substr(sizeof header, header));
  const auto begin = json.at(tensor).at("data_offsets").at(0).get<uint64_t>();
  std::memcpy(bytes.data() + sizeof header + header + begin + 4 * static_cast<uint64_t>(index), &value, sizeof value);
  put_file(file, bytes);
}

inline constexpr int kPoisonedId = 94, kPoisonedRow = 5;  // rows.jsonl:6, in step 7

// 40 rows, 4 a step: ten steps an epoch, one of them bad. Only the embedding of kPoisonedId, which only that row has, reaches the last
// channel, and there the first query weight is so large that the query overflows. (A base with infinite weights is refused when it is
// loaded.) Without poison that weight is an ordinary one.
class PoisonedWorkshop : public RunWorkshop {
 public:
  explicit PoisonedWorkshop(bool poisoned = true) {
    const std::filesystem::path weights = (*this) / "model/model.safetensors";
    for (int id = 0; id < kVocab; ++id) plant(weights, "model.embed_tokens.weight", id * kHidden + kHidden - 1, id == kPoisonedId ? 1.0f : 0.0f);
    set_poison(poisoned);
    std::string rows;
    for (int i = 0; i < 40; ++i) rows += i == kPoisonedRow ? fmt::format("{{\"input_ids\": [5, 6, 7, {}, 8, 9]}}\n", kPoisonedId) : row(i) + "\n";
    put_file((*this) / "rows.jsonl", rows);
    put_file((*this) / "run.yaml", file_bytes((*this) / "run.yaml") + "packing: false\nbnb_4bit_use_double_quant: false\n");
  }
  void set_poison(bool poisoned) const {
    plant((*this) / "model/model.safetensors", "model.layers.0.self_attn.q_proj.weight", kHidden - 1, poisoned ? 3e38f : 0.01f);
  }

 private:
  static constexpr int kHidden = 64, kVocab = 96;  // of the golden model
};

// metrics.jsonl without the fields that the machine's speed enters.
inline std::vector<nlohmann::json> exact_metrics(const std::filesystem::path& run) {
  std::istringstream lines(file_bytes(run / "metrics.jsonl"));
  std::vector<nlohmann::json> rows;
  for (std::string line; std::getline(lines, line);) {
    rows.push_back(nlohmann::json::parse(line));
    for (const std::string& name : trainer::measured_metrics()) rows.back().erase(name);
  }
  return rows;
}

// The step of the first row without a loss; 0: all have one.
inline int64_t first_lost_step(const std::filesystem::path& run) {
  for (const auto& row : exact_metrics(run)) {
    if (row.at("loss").is_null()) return row.at("step").get<int64_t>();
  }
  return 0;
}

}  // namespace nibble::test
