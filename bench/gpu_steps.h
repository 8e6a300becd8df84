// The optimizer's step in bench_gpu: all adapters of an 8B model (r = 16 on all linear layers), in plain device memory and in
// paged memory whose budget holds everything, and half of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/gpu_rows.h"
#include "optim/optimizer.h"
#include "optim/paged_arena.h"

namespace nibble::bench {

struct AdapterShape {
  int64_t layers = 32, rank = 16;
  // In and Out of each adapted weight of a layer.
  std::vector<std::pair<int64_t, int64_t>> linears{{4096, 4096}, {4096, 1024},  {4096, 1024},  {4096, 4096},
                                                   {4096, 14336}, {4096, 14336}, {14336, 4096}};
};

// Tensors over device memory. LibTorch takes them for the CPU's, and nobody reads them through it: the optimizer goes by
// their addresses.
inline std::vector<optim::ParamRef> adapter_params(DeviceData& data, const AdapterShape& shape) {
  std::vector<optim::ParamRef> params;
  const auto add = [&](const std::string& name, int64_t layer, int64_t rows, int64_t columns) {
    const Tensor param = at::from_blob(data.random_bf16(rows * columns), {rows, columns}, at::kBFloat16);
    const Tensor grad = at::from_blob(data.zeros<float>(rows * columns), {rows, columns}, at::kFloat);
    params.push_back({name, param, grad, layer});
  };
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    for (size_t i = 0; i < shape.linears.size(); ++i) {
      const std::string path = fmt::format("{}.{}", layer, i);
      add(path + ".lora_A", layer, shape.rank, shape.linears[i].first);
      add(path + ".lora_B", layer, shape.linears[i].second, shape.rank);
    }
  }
  return params;
}

struct StepCase {
  std::string name;
  Optim optim;
  bool paged;
  int64_t budget_percent;  // of the state
  bool staged = false;
};

inline std::vector<StepCase> step_cases() {
  return {{"adamw_torch", Optim::kAdamwTorch, false, 100},
          {"adamw_8bit", Optim::kAdamw8bit, false, 100},
          {"lion_8bit", Optim::kLion8bit, false, 100},
          {"paged_adamw_32bit, plain memory", Optim::kPagedAdamw32bit, false, 100},
          {"paged_adamw_32bit, all resident", Optim::kPagedAdamw32bit, true, 100},
          {"paged_adamw_32bit, half resident", Optim::kPagedAdamw32bit, true, 50},
          {"paged_adamw_32bit, half resident, staged", Optim::kPagedAdamw32bit, true, 50, true},
          {"paged_adamw_8bit, all resident", Optim::kPagedAdamw8bit, true, 100}};
}

// An optimizer whose step() and prefetch_ahead() can be timed.
struct StepRun {
  std::unique_ptr<optim::Optimizer> optimizer;
  optim::PagedArena* arena = nullptr;  // the optimizer's memory; null: plain
  int64_t layers = 0;
  int64_t launches = 0;                // a step: norm, head, and one a window

  void step() {
    if (arena != nullptr) {
      for (int64_t layer = layers - 1; layer >= 0; --layer) arena->prefetch_ahead(layer);
    }
    optimizer->step(1e-4, 1, 1.0);
  }
};

inline StepRun step_run(DeviceData& data, const std::vector<optim::ParamRef>& params, int64_t layers, const StepCase& c,
                        int64_t page_bytes) {
  optim::OptimizerConfig config;
  config.optim = c.optim;
  std::unique_ptr<optim::PagedArena> arena;
  StepRun run;
  run.layers = layers;
  if (c.paged) {
    int64_t state_bytes = 0;
    for (const optim::ParamRef& p : params) state_bytes += p.param.numel() * 12;
    optim::PagedOptions options;
    options.queue = data.queue();
    options.page_bytes = page_bytes;
    options.staged = c.staged;
    if (c.budget_percent < 100) options.budget_bytes = state_bytes * c.budget_percent / 100;
    arena = std::make_unique<optim::PagedArena>(options);
    run.arena = arena.get();
  }
  run.optimizer = std::make_unique<optim::Optimizer>(config, params, std::move(arena), data.queue());
  run.launches = 2 + (run.arena != nullptr ? static_cast<int64_t>(run.arena->windows()) : 1);
  return run;
}

}  // namespace nibble::bench
