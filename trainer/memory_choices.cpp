#include "trainer/memory_choices.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "schema/enum_names.h"

namespace nibble::trainer {
namespace {

// Levels with the number of layers that have them, in order of first use.
std::vector<std::pair<Recompute, int64_t>> layers_by_level(const std::vector<nn::RecomputePolicy>& recompute) {
  std::vector<std::pair<Recompute, int64_t>> counts;
  for (const nn::RecomputePolicy& policy : recompute) {
    const auto at = std::find_if(counts.begin(), counts.end(), [&](const auto& c) { return c.first == policy.level; });
    if (at == counts.end()) {
      counts.emplace_back(policy.level, 1);
    } else {
      ++at->second;
    }
  }
  return counts;
}

}  // namespace

bool MemoryChoices::operator==(const MemoryChoices& other) const {
  const auto same_level = [](const nn::RecomputePolicy& a, const nn::RecomputePolicy& b) { return a.level == b.level; };
  return std::equal(recompute.begin(), recompute.end(), other.recompute.begin(), other.recompute.end(), same_level) &&
         loss_chunk_tokens == other.loss_chunk_tokens && streamed == other.streamed &&
         offload_embedding == other.offload_embedding && paged_budget_bytes == other.paged_budget_bytes &&
         parallel_passes == other.parallel_passes && background_save == other.background_save;
}

std::vector<nn::RecomputePolicy> every_layer(int64_t layers, Recompute level) {
  return std::vector<nn::RecomputePolicy>(static_cast<size_t>(layers), nn::RecomputePolicy{level});
}

std::string recompute_text(const std::vector<nn::RecomputePolicy>& recompute) {
  const auto counts = layers_by_level(recompute);
  if (counts.size() == 1) return std::string(schema::enum_name(counts[0].first));
  std::string text;
  for (const auto& [level, layers] : counts) {
    text += fmt::format("{}{} in {}{}", text.empty() ? "" : ", ", schema::enum_name(level), layers, text.empty() ? " layers" : "");
  }
  return text;
}

std::string choices_text(const MemoryChoices& choices) {
  std::string text = fmt::format("recompute {}; loss in chunks of {} tokens", recompute_text(choices.recompute), choices.loss_chunk_tokens);
  if (choices.streamed) text += "; base streamed layer by layer";
  if (choices.offload_embedding) text += "; embedding in host memory";
  if (choices.paged_budget_bytes > 0) text += fmt::format("; {} MiB of the optimizer's state resident", choices.paged_budget_bytes >> 20);
  if (choices.parallel_passes > 1) text += fmt::format("; {} passes at a time", choices.parallel_passes);
  if (choices.background_save) text += "; checkpoints written in the background";
  return text;
}

std::string choices_json(const MemoryChoices& choices) {
  nlohmann::ordered_json out;
  for (const auto& [level, layers] : layers_by_level(choices.recompute)) out["recompute"][std::string(schema::enum_name(level))] = layers;
  out["loss_chunk_tokens"] = choices.loss_chunk_tokens;
  out["base_residency"] = schema::enum_name(choices.streamed ? BaseResidency::kStreamed : BaseResidency::kResident);
  out["offload_embedding"] = choices.offload_embedding;
  out["paged_budget_bytes"] = choices.paged_budget_bytes;
  out["parallel_passes"] = choices.parallel_passes;
  out["background_save"] = choices.background_save;
  return out.dump();
}

std::optional<int64_t> stored_loss_chunk(const std::string& json) {
  const auto parsed = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object() || !parsed.contains("loss_chunk_tokens")) return std::nullopt;
  const auto& chunk = parsed.at("loss_chunk_tokens");
  if (!chunk.is_number_integer() || chunk.get<int64_t>() < 1) return std::nullopt;
  return chunk.get<int64_t>();
}

}  // namespace nibble::trainer
