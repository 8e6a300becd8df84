// The CUDA module's launch lines and the optimizer's step, measured against a copy in the same run.
//
//   bench_gpu [--json FILE] [--quick] [--module libnibble_cuda.so]
// Times are of the host's clock around many launches and one wait, medians over rounds; GB/s counts each byte that a row must
// read and write once. "of copy" is the share of what a device-to-device copy moves. Exit codes: 0, 1 (failed), 3 (no GPU).
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/gpu_rows.h"
#include "bench/gpu_steps.h"
#include "core/error.h"
#include "gpu/module.h"
#include "optim/optimizer.h"

namespace nibble::bench {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct Effort {
  double seconds_a_round = 0.05;
  int rounds = 7;
};

double seconds_of(const gpu::Queue& queue, int64_t repeats, const std::function<void()>& run) {
  const auto start = Clock::now();
  for (int64_t i = 0; i < repeats; ++i) run();
  queue.module->runtime->synchronize(queue.stream);
  return std::chrono::duration<double>(Clock::now() - start).count() / static_cast<double>(repeats);
}

// Seconds of one run, the median of the rounds. The first runs warm up and say how many make a round.
double median_seconds(const gpu::Queue& queue, const Effort& effort, const std::function<void()>& run) {
  seconds_of(queue, 2, run);
  const double guess = std::max(seconds_of(queue, 3, run), 1e-6);
  const auto repeats = std::clamp(static_cast<int64_t>(effort.seconds_a_round / guess), int64_t{3}, int64_t{2000});
  std::vector<double> seconds;
  for (int round = 0; round < effort.rounds; ++round) seconds.push_back(seconds_of(queue, repeats, run));
  std::nth_element(seconds.begin(), seconds.begin() + effort.rounds / 2, seconds.end());
  return seconds[static_cast<size_t>(effort.rounds / 2)];
}

Json measured(const KernelRow& row, double seconds, double copy_rate) {
  const double rate = static_cast<double>(row.bytes) / seconds * 1e-9;
  fmt::print("{:<46} {:<26} {:>9.1f} us {:>8.1f} GB/s {:>6.1f} %\n", row.name, row.shape, seconds * 1e6, rate,
             100 * rate / copy_rate);
  std::fflush(stdout);
  return {{"name", row.name}, {"shape", row.shape}, {"bytes", row.bytes}, {"launches", 1},
          {"microseconds", seconds * 1e6}, {"gb_per_s", rate}, {"of_copy", rate / copy_rate}};
}

double measure_copy(const gpu::Queue& queue, const Effort& effort) {
  DeviceData data(queue);
  constexpr int64_t kElements = 128 << 20;  // 256 MiB, beyond any card's cache
  const uint16_t* from = data.random_bf16(kElements);
  auto* to = data.zeros<uint16_t>(kElements);
  const double seconds = median_seconds(queue, effort, [&] { data.copy(to, from, 2 * kElements); });
  return 4.0 * kElements / seconds * 1e-9;
}

Json kernel_table(const gpu::Queue& queue, const Effort& effort, double copy_rate) {
  Json table = Json::array();
  for (const auto add : {add_quant_rows, add_norm_rows, add_rope_rows, add_swiglu_rows, add_loss_rows, add_element_rows}) {
    DeviceData data(queue);  // one group's matrices at a time, so that small cards can run this too
    std::vector<KernelRow> rows;
    add(data, KernelSizes{}, rows);
    for (const KernelRow& row : rows) table.push_back(measured(row, median_seconds(queue, effort, row.run), copy_rate));
  }
  return table;
}

Json step_table(const gpu::Queue& queue, const Effort& effort) {
  Json table = Json::array();
  DeviceData data(queue);
  const AdapterShape shape;
  const std::vector<optim::ParamRef> params = adapter_params(data, shape);
  for (const StepCase& c : step_cases()) {
    StepRun run = step_run(data, params, shape.layers, c, optim::PagedOptions{}.page_bytes);
    const double seconds = median_seconds(queue, effort, [&] { run.step(); });
    Json row{{"name", c.name}, {"state_bytes", run.optimizer->state_bytes()}, {"launches", run.launches},
             {"milliseconds", seconds * 1e3}};
    if (run.arena != nullptr) {
      const optim::PagingCounters counters = run.arena->counters();
      row["memory"] = run.arena->text();
      row["prefetched_bytes"] = counters.prefetched_bytes;
      row["demanded_bytes"] = counters.demanded_bytes;
      row["evicted_bytes"] = counters.evicted_bytes;
    }
    fmt::print("optimizer step {:<40} {:>9.3f} ms {:>3} launches\n", c.name, seconds * 1e3, run.launches);
    table.push_back(row);
  }
  return table;
}

int run(int argc, char** argv) {
  std::string json, module = gpu::default_module_path().string();
  Effort effort;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick") {
      effort = {0.01, 3};
    } else if (argument == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else if (argument == "--module" && i + 1 < argc) {
      module = argv[++i];
    } else {
      std::cerr << "usage: bench_gpu [--json FILE] [--quick] [--module libnibble_cuda.so]\n";
      return static_cast<int>(ExitCode::kUsage);
    }
  }
  const gpu::ModuleStatus status = gpu::module_status(module);
  std::cerr << status.text << "\n";
  if (!status.usable()) return 3;
  const gpu::Queue queue{status.table, nullptr};
  Json out;
  out["device"] = status.text;
  const double copy_rate = measure_copy(queue, effort);
  fmt::print("{:<46} {:<26} {:>22.1f} GB/s\n", "copy on the device", "256 MiB", copy_rate);
  out["copy_gb_per_s"] = copy_rate;
  out["kernels"] = kernel_table(queue, effort, copy_rate);
  out["optimizer_steps"] = step_table(queue, effort);
  if (!json.empty()) {
    std::ofstream file(json);
    file << out.dump(1) << "\n";
    if (!file.flush()) throw IoError("cannot write the results", json);
  }
  return 0;
}

}  // namespace
}  // namespace nibble::bench

int main(int argc, char** argv) {
  try {
    return nibble::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "bench_gpu: " << error.what() << "\n";
    return 1;
  }
}
