#include "trainer/plan_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "schema/enum_names.h"

namespace nibble::trainer {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMib = 1024.0 * 1024.0, kGib = kMib * 1024.0;

double gib(int64_t bytes) { return static_cast<double>(bytes) / kGib; }
double mib(int64_t bytes) { return static_cast<double>(bytes) / kMib; }

std::string percent(double share) { return fmt::format("{:.0f} %", 100 * share); }

std::string table(const MemoryPlan& plan, const std::string& device) {
  constexpr double kBar = 30;
  const int64_t total = plan.total_bytes(device);
  std::string text;
  for (const PlanComponent& c : plan.components) {
    if (c.device != device || c.bytes == 0) continue;
    const auto filled = static_cast<size_t>(kBar * static_cast<double>(c.bytes) / static_cast<double>(std::max<int64_t>(1, total)) + 0.5);
    text += fmt::format("  {:<22} {:>10.1f} MiB {:>5.1f} %  {}\n", c.name, mib(c.bytes),
                        100.0 * static_cast<double>(c.bytes) / static_cast<double>(std::max<int64_t>(1, total)), std::string(filled, '#'));
  }
  return text + fmt::format("  {:<22} {:>10.1f} MiB  = {:.2f} GiB\n", "total", mib(total), gib(total));
}

std::string speed_text(double tokens_per_s) { return tokens_per_s < 100 ? fmt::format("{:.1f}", tokens_per_s) : fmt::format("{:.0f}", tokens_per_s); }

std::string card_line(const CardVerdict& card) {
  if (!card.run.fits) {
    return fmt::format("  {:>2} GB  no   needs {:.2f} of {:.1f} GiB at least\n", card.gib, gib(card.bytes), gib(card.usable_bytes));
  }
  return fmt::format("  {:>2} GB  yes  {:.2f} of {:.1f} GiB, about {} tokens/s on an {}: {}\n", card.gib, gib(card.bytes), gib(card.usable_bytes),
                     speed_text(tokens_per_s(card.run.input, *card.gpu)), card.gpu->name, choices_text(card.run.input.choices));
}

std::string change_line(const PlanChange& change) {
  return fmt::format("  {}: {:.2f} GiB, {}{}\n", fmt::join(change.keys, ", "), gib(change.bytes),
                     change.cost > 0.005 ? percent(change.cost) + " slower than with memory for everything" : "no slower",
                     change.same_numbers ? "" : "; changes the numbers");
}

std::string verdict(const PlanReport& r) {
  if (r.fits()) return fmt::format("fits: {} has {:.2f} GiB for it\n", r.budget_of, gib(r.budget_bytes));
  const int64_t bytes = r.plan.total_bytes();
  std::string text = fmt::format("does not fit: {} has {:.2f} GiB for it, and it takes {:.2f} GiB: {:.0f} MiB are missing", r.budget_of, gib(r.budget_bytes),
                                 gib(bytes), std::ceil(mib(bytes - r.budget_bytes)));
  if (r.changes.empty()) {
    if (r.input.purpose == PlanFor::kForward) return text + "; shorten the text, lower max_length, or leave base_residency and offload_embedding on auto\n";
    return text + "; lower max_length, lora_r or per_device_train_batch_size, or take a smaller model; `nibble plan CONFIG` says which change is enough\n";
  }
  text += r.changes.front().keys.size() > 1 ? "; it takes all of these changes:\n" : "; each of these changes makes it fit:\n";
  for (const PlanChange& change : r.changes) text += change_line(change);
  return text;
}

Json choices_object(const PlanReport& r) {
  Json out;
  out["device"] = r.plan.device;
  const Json all = Json::parse(choices_json(r.input.choices));
  // The level of all layers, or of most of them; by layer beside it.
  std::string level;
  int64_t most = 0;
  for (const auto& [name, layers] : all.at("recompute").items()) {
    if (layers.get<int64_t>() > most) {
      most = layers.get<int64_t>();
      level = name;
    }
  }
  out["recompute"] = level;
  out["recompute_layers"] = all.at("recompute");
  for (const char* key : {"loss_chunk_tokens", "base_residency", "offload_embedding", "paged_budget_bytes"}) out[key] = all.at(key);
  out["pass_tokens"] = r.input.pass_tokens;
  return out;
}

Json card_object(const CardVerdict& card) {
  Json out{{"gpu_gb", card.gib}, {"usable_bytes", card.usable_bytes}, {"fits", card.run.fits}, {"bytes", card.bytes}, {"host_bytes", card.host_bytes}};
  out["choices"] = Json::parse(choices_json(card.run.input.choices));
  out["gpu"] = card.gpu->name;
  out["tokens_per_s"] = tokens_per_s(card.run.input, *card.gpu);
  return out;
}

}  // namespace

std::string plan_text(const PlanReport& r) {
  const bool on_gpu = r.plan.device == "cuda";
  std::string text = fmt::format("memory on the {} by component (passes of {} tokens)\n", on_gpu ? "GPU" : "CPU", r.input.pass_tokens);
  text += table(r.plan, r.plan.device);
  if (on_gpu) text += "memory of the host\n" + table(r.plan, "cpu");
  text += "choices: " + choices_text(r.input.choices) + "\n";
  if (r.speed) text += fmt::format("speed: about {} tokens/s on {}\n", speed_text(tokens_per_s(r.input, *r.speed)), r.speed->name);
  text += verdict(r);
  if (!r.more.empty()) text += "more memory would buy:\n";
  for (const MoreMemory& offer : r.more) {
    text += fmt::format("  {:.2f} GiB: {} less time a token ({})\n", gib(offer.bytes), percent(offer.faster), offer.choices);
  }
  if (!r.cards.empty()) text += "on a GPU (usable: its memory less 0.3 GiB):\n";
  for (const CardVerdict& card : r.cards) text += card_line(card);
  return text;
}

std::string plan_json(const PlanReport& r) {
  Json out;
  out["components"] = Json::array();
  for (const PlanComponent& c : r.plan.components) out["components"].push_back({{"name", c.name}, {"device", c.device}, {"bytes", c.bytes}});
  out["total_bytes"][r.plan.device] = r.plan.total_bytes();
  if (r.plan.device != "cpu") out["total_bytes"]["cpu"] = r.plan.total_bytes("cpu");
  for (const CardVerdict& card : r.cards) out["fits"][fmt::format("{}", card.gib)] = card.run.fits;
  out["fits"][r.plan.device] = r.fits();
  out["fits"]["limit_bytes"] = r.budget_bytes;
  out["choices"] = choices_object(r);
  if (r.speed) out["tokens_per_s"] = tokens_per_s(r.input, *r.speed);
  out["cards"] = Json::array();
  for (const CardVerdict& card : r.cards) out["cards"].push_back(card_object(card));
  out["changes"] = Json::array();
  for (const PlanChange& change : r.changes) {
    out["changes"].push_back({{"keys", change.keys}, {"bytes", change.bytes}, {"cost_percent", 100 * change.cost}, {"same_numbers", change.same_numbers}});
  }
  out["more_memory"] = Json::array();
  for (const MoreMemory& offer : r.more) {
    out["more_memory"].push_back({{"bytes", offer.bytes}, {"faster_percent", 100 * offer.faster}, {"choices", offer.choices}});
  }
  return out.dump();
}

std::string refusal_text(const PlanInput& input, const Budget& budget) {
  PlanReport report{input, plan_memory(input), budget.most_bytes, budget.of, {}, {}, {}, {}};
  if (input.purpose == PlanFor::kTraining) {
    report.changes = changes_that_fit(input, budget.most_bytes, input.device == PlanDevice::kCuda ? typical_gpu(budget.bytes) : tabled_cpu());
  }
  return plan_text(report);
}

std::string plan_text(const MemoryPlan& plan, const PlanInput& input, int64_t limit_bytes) {
  return plan_text({input, plan, limit_bytes, "this run", {}, {}, {}, {}});
}

std::string plan_json(const MemoryPlan& plan, const PlanInput& input, int64_t limit_bytes) {
  return plan_json({input, plan, limit_bytes, "this run", {}, {}, {}, {}});
}

}  // namespace nibble::trainer
