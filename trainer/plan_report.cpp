#include "trainer/plan_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "schema/enum_names.h"

namespace nibble::trainer {
namespace {

constexpr double kMib = 1024.0 * 1024.0;

}  // namespace

std::string plan_text(const MemoryPlan& plan, const PlanInput& input, int64_t limit_bytes) {
  const int64_t total = plan.total_bytes();
  std::string text = fmt::format("memory by component (passes of {} tokens, recompute {})\n", input.pass_tokens,
                                 schema::enum_name(input.recompute.level));
  for (const PlanComponent& c : plan.components) {
    constexpr int kBar = 30;
    const auto filled = static_cast<size_t>(kBar * static_cast<double>(c.bytes) / static_cast<double>(total) + 0.5);
    text += fmt::format("  {:<18} {:>10.1f} MiB  {}\n", c.name, static_cast<double>(c.bytes) / kMib, std::string(filled, '#'));
  }
  text += fmt::format("  {:<18} {:>10.1f} MiB\n", "total", static_cast<double>(total) / kMib);
  text += total <= limit_bytes ? fmt::format("fits: this machine has {:.0f} MiB\n", static_cast<double>(limit_bytes) / kMib)
                               : fmt::format("does not fit: this machine has {:.0f} MiB; lower max_length or per_device_train_batch_size, or set "
                                             "recompute: layer\n", static_cast<double>(limit_bytes) / kMib);
  return text;
}

std::string plan_json(const MemoryPlan& plan, const PlanInput& input, int64_t limit_bytes) {
  nlohmann::ordered_json out;
  for (const PlanComponent& c : plan.components) out["components"].push_back({{"name", c.name}, {"device", c.device}, {"bytes", c.bytes}});
  out["total_bytes"] = {{"cpu", plan.total_bytes()}};
  out["fits"] = {{"cpu", plan.total_bytes() <= limit_bytes}, {"limit_bytes", limit_bytes}};
  out["choices"] = {{"recompute", schema::enum_name(input.recompute.level)}, {"pass_tokens", input.pass_tokens}};
  return out.dump();
}

}  // namespace nibble::trainer
