#include "trainer/run_result.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/checkpoint.h"

namespace nibble::trainer {
namespace {

using Json = nlohmann::ordered_json;

Json finite_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(); }

// The mean loss of the last ten rows that have one; NaN where none has.
double recent_loss(const RunState& state) {
  double sum = 0.0;
  int64_t rows = 0;
  for (auto row = state.log_history.rbegin(); row != state.log_history.rend() && rows < 10; ++row) {
    if (std::isnan(row->loss)) continue;
    sum += row->loss;
    ++rows;
  }
  return sum / static_cast<double>(rows);
}

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace

std::string result_json(const RunResult& result) {
  Json out;
  out["output_dir"] = result.output_dir;
  out["global_step"] = result.state.global_step;
  out["train_loss"] = finite_or_null(recent_loss(result.state));
  out["eval_loss"] = result.loop.last_eval_loss ? finite_or_null(*result.loop.last_eval_loss) : Json();
  out["tokens_per_s"] = median(result.loop.step_tokens_per_s);
  out["first_step_s"] = result.loop.first_step_done_s;
  out["load_s"] = result.load_s;
  out["ready_s"] = result.ready_s;
  out["peak_rss_mib"] = result.peak_rss_mib;
  out["peak_gpu_mib"] = static_cast<double>(result.memory.device_bytes()) / (1024.0 * 1024.0);
  out["save_blocked_ms"] = 1e3 * result.save.blocked_s;
  out["save_s"] = result.save.total_s;
  out["plan_bytes"] = result.memory.planned_bytes();
  out["measured_bytes"] = result.memory.measured_bytes();
  for (const auto& [component, mib] : result.memory.peak_mib()) out["memory_peak_mib"][component] = mib;
  out["skipped_steps"] = result.state.skipped_steps;
  out["interrupted"] = result.loop.interrupted;
  out["stopped_by"] = result.loop.interrupted ? Json(result.stop.name()) : Json();
  return out.dump();
}

std::string result_text(const RunResult& result) {
  const std::filesystem::path checkpoint = std::filesystem::path(result.output_dir) / io::checkpoint_name(result.state.global_step);
  const std::string skipped = result.state.skipped_steps > 0 ? fmt::format(" ({} of them left out)", result.state.skipped_steps) : "";
  const double loss = recent_loss(result.state);
  return fmt::format("{} {} steps{}, loss {}, {:.0f} tokens/s, peak {:.0f} MiB: {}", result.loop.interrupted ? "interrupted after" : "trained",
                     result.state.global_step, skipped, std::isnan(loss) ? "unknown" : fmt::format("{:.4f}", loss), median(result.loop.step_tokens_per_s), result.peak_rss_mib,
                     checkpoint.string());
}

std::vector<std::string> describe_stop(const RunResult& result) {
  std::vector<std::string> lines;
  if (result.loop.step_tokens_per_s.empty() && result.stop.name() == std::string_view("max_time")) {
    lines.push_back(fmt::format("warning: max_time left no time for a step: getting ready took {:.1f} s, and {:.1f} s are kept for the end; a run that is "
                                "continued like this never gets on, so give it more", result.ready_s, result.stop.deadline().reserve_s()));
  }
  lines.push_back(fmt::format("{}: saved {}; continue with `nibble resume {}`", result.stop.reason(), io::checkpoint_name(result.state.global_step),
                              result.output_dir));
  return lines;
}

}  // namespace nibble::trainer
