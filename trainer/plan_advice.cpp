#include "trainer/plan_advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>

#include "schema/enum_names.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kGib = int64_t{1} << 30;
constexpr std::array<int64_t, 5> kCards{6, 8, 12, 16, 24};

struct Change {
  std::string key;
  bool same_numbers;
  std::function<void(PlanInput&)> apply;
};

Optim paged_form(Optim optim) {
  switch (optim) {
    case Optim::kAdamwTorch: return Optim::kPagedAdamw32bit;
    case Optim::kAdamw8bit: return Optim::kPagedAdamw8bit;
    case Optim::kLion32bit: return Optim::kPagedLion32bit;
    case Optim::kLion8bit: return Optim::kPagedLion8bit;
    case Optim::kPagedAdamw32bit:
    case Optim::kPagedAdamw8bit:
    case Optim::kPagedLion32bit:
    case Optim::kPagedLion8bit: return optim;
  }
  return optim;
}

// bitsandbytes' arithmetic, which adamw_torch has not.
bool keeps_numbers_paged(Optim optim) { return optim != Optim::kAdamwTorch; }

Optim eight_bit_form(Optim optim) {
  switch (optim) {
    case Optim::kAdamwTorch: return Optim::kAdamw8bit;
    case Optim::kPagedAdamw32bit: return Optim::kPagedAdamw8bit;
    case Optim::kLion32bit: return Optim::kLion8bit;
    case Optim::kPagedLion32bit: return Optim::kPagedLion8bit;
    case Optim::kAdamw8bit:
    case Optim::kPagedAdamw8bit:
    case Optim::kLion8bit:
    case Optim::kPagedLion8bit: return optim;
  }
  return optim;
}

// Everything that one could change about this run, those that keep the numbers first.
std::vector<Change> possible_changes(const PlanInput& in) {
  std::vector<Change> all;
  const auto add = [&](bool possible, std::string key, bool same, std::function<void(PlanInput&)> apply) {
    if (possible) all.push_back({std::move(key), same, std::move(apply)});
  };
  add(in.fixed.recompute && *in.fixed.recompute != Recompute::kLayer, "recompute: auto", true, [](PlanInput& p) { p.fixed.recompute.reset(); });
  add(in.fixed.offload_embedding == false, "offload_embedding: auto", true, [](PlanInput& p) { p.fixed.offload_embedding.reset(); });
  add(in.load_in_4bit && in.fixed.streamed == false, "base_residency: streamed", true, [](PlanInput& p) { p.fixed.streamed = true; });
  add(in.fixed.paged_budget_bytes.has_value(), "paged_budget_mib: 0", true, [](PlanInput& p) { p.fixed.paged_budget_bytes.reset(); });
  const Optim optim = in.optimizer.optim, paged = paged_form(optim), eight_bit = eight_bit_form(optim);
  add(paged != optim, fmt::format("optim: {}", schema::enum_name(paged)), keeps_numbers_paged(optim), [paged](PlanInput& p) { p.optimizer.optim = paged; });
  for (int64_t rows = in.rows / 2; rows >= 1 && in.device == PlanDevice::kCuda; rows /= 2) {
    const int64_t steps = in.accumulation_steps * in.rows / rows;
    add(true, fmt::format("per_device_train_batch_size: {} with gradient_accumulation_steps: {}", rows, steps), false, [rows, steps](PlanInput& p) {
      p.accumulation_steps = steps;
      set_batch(p, rows, p.row_tokens, p.longest_tokens);
    });
  }
  // On a CPU a batch goes through in parts anyway. A loss is a sum over rows, but rows together may round otherwise.
  for (int64_t rows = in.eval_rows / 2; rows >= 1 && in.device == PlanDevice::kCuda; rows /= 2) {
    add(true, fmt::format("per_device_eval_batch_size: {}", rows), true, [rows](PlanInput& p) { set_eval_batch(p, rows, p.eval_row_tokens, p.eval_longest_tokens); });
  }
  add(in.fixed.loss_chunk_tokens && *in.fixed.loss_chunk_tokens > 64, "loss_chunk_tokens: 64", false, [](PlanInput& p) { p.fixed.loss_chunk_tokens = 64; });
  add(!in.load_in_4bit, "load_in_4bit: true", false, [](PlanInput& p) {
    p.load_in_4bit = true;
    p.fixed.streamed.reset();
  });
  add(eight_bit != optim, fmt::format("optim: {}", schema::enum_name(eight_bit)), false, [eight_bit](PlanInput& p) { p.optimizer.optim = eight_bit; });
  add(in.load_in_4bit && !in.head_in_4bit && !in.model.tie_word_embeddings, "lm_head_load_in_4bit: true", false, [](PlanInput& p) { p.head_in_4bit = true; });
  for (int64_t r = in.lora_r / 2; r >= 4; r /= 2) add(true, fmt::format("lora_r: {}", r), false, [r](PlanInput& p) { p.lora_r = r; });
  for (int64_t length = in.row_tokens / 2 / 64 * 64; length >= 128; length = length / 2 / 64 * 64) {
    add(true, fmt::format("max_length: {}", length), false, [length](PlanInput& p) {
      set_batch(p, p.rows, length, std::min(p.longest_tokens, length));
      set_eval_batch(p, p.eval_rows, std::min(p.eval_row_tokens, length), std::min(p.eval_longest_tokens, length));
    });
  }
  return all;
}

double seconds_a_token(const PlanInput& in, const HardwareSpeed& speed) { return 1 / tokens_per_s(in, speed); }

}  // namespace

std::vector<CardVerdict> card_verdicts(const PlanInput& input) {
  std::vector<CardVerdict> verdicts;
  for (const int64_t gib : kCards) {
    CardVerdict card;
    card.gib = gib;
    card.usable_bytes = gib * kGib - kCardReserveBytes;
    card.gpu = &typical_gpu(gib * kGib);
    card.run = search_plan(input, card.usable_bytes, *card.gpu);
    const MemoryPlan plan = plan_memory(card.run.input);
    card.bytes = plan.total_bytes();
    card.host_bytes = plan.total_bytes("cpu");
    verdicts.push_back(std::move(card));
  }
  return verdicts;
}

std::vector<PlanChange> changes_that_fit(const PlanInput& input, int64_t budget_bytes, const HardwareSpeed& speed) {
  PlanInput unlimited = input;
  unlimited.choices = fastest_choices(input);
  const double before = seconds_a_token(unlimited, speed);
  std::vector<PlanChange> found;
  const auto try_change = [&](const PlanInput& changed, std::vector<std::string> keys, bool same_numbers) {
    const PlannedRun run = search_plan(changed, budget_bytes, speed);
    if (!run.fits) return false;
    found.push_back({std::move(keys), plan_memory(run.input).total_bytes(), seconds_a_token(run.input, speed) / before - 1, same_numbers});
    return true;
  };
  const std::vector<Change> changes = possible_changes(input);
  std::string family;  // of several values of one key, the mildest that fits is enough
  for (const Change& change : changes) {
    const std::string key = change.key.substr(0, change.key.find(':'));
    if (key == family) continue;
    PlanInput changed = input;
    change.apply(changed);
    if (try_change(changed, {change.key}, change.same_numbers)) family = key;
  }
  if (found.empty()) {
    // Together, from those that change least; of one key the last value wins.
    PlanInput changed = input;
    std::vector<std::string> keys;
    bool same = true;
    for (const Change& change : changes) {
      const std::string key = change.key.substr(0, change.key.find(':'));
      if (!keys.empty() && keys.back().substr(0, keys.back().find(':')) == key) keys.pop_back();
      change.apply(changed);
      keys.push_back(change.key);
      same = same && change.same_numbers;
      if (try_change(changed, keys, same)) break;
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const PlanChange& a, const PlanChange& b) {
    return a.same_numbers != b.same_numbers ? a.same_numbers : a.cost < b.cost;
  });
  return found;
}

std::vector<MoreMemory> more_memory(const PlannedRun& run, int64_t budget_bytes, const HardwareSpeed& speed) {
  constexpr double kWorthSaying = 0.98;
  std::vector<MoreMemory> offers;
  double last = run.seconds;
  // To half as much again, twice, four times as much.
  for (const double factor : {1.25, 1.5, 2.0, 3.0, 4.0}) {
    const auto budget = static_cast<int64_t>(static_cast<double>(budget_bytes) * factor);
    const PlannedRun larger = search_plan(run.input, budget, speed);
    if (!larger.fits || larger.seconds > last * kWorthSaying) continue;
    last = larger.seconds;
    offers.push_back({plan_memory(larger.input).total_bytes(), 1 - larger.seconds / run.seconds, choices_text(larger.input.choices)});
  }
  return offers;
}

}  // namespace nibble::trainer
