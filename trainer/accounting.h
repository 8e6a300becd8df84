// A run's memory by component, planned and measured: in metrics, beside the plan once the worst step is made, and in the
// message when memory is at its end.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/memory_account.h"
#include "core/memory_limit.h"
#include "gpu/memory_watch.h"
#include "nn/model.h"
#include "tensor/torch_memory.h"
#include "trainer/memory_plan.h"
#include "trainer/metrics.h"

namespace nibble::trainer {

// One component on one side. Bytes.
struct MemoryLine {
  MemoryPart part;
  MemorySide side;
  int64_t planned = 0;
  int64_t in_use = 0;
  int64_t peak = 0;
};

class RunMemory {
 public:
  // Counts this thread's LibTorch memory from now on: make it before the first tensor.
  RunMemory() : limit_(memory_limit()), torch_memory_(account_) {}

  MemoryAccount& account() { return account_; }
  const MemoryLimit& limit() const { return limit_; }

  void set_plan(const MemoryPlan& plan) { plan_ = plan; }
  // Asks the driver from now on what a device's run takes of it. Call it before anything is allocated there. THROWS CudaError
  void watch(const gpu::Queue& queue) { device_.emplace(queue); }
  // After each step.
  void look() {
    if (device_) device_->look();
  }

  // Says which of the loaded tensors is what. Call it when the adapters are attached.
  void assign(const nn::Model& model);

  // Components that are planned or were used; the last one of a side is the rest: of the process, or of what the driver says
  // is taken. (The CUDA context was there before, and is not in it.)
  std::vector<MemoryLine> lines() const;
  int64_t planned_bytes() const { return plan_.total_bytes(); }
  // The largest so far, where the run computes: the process's resident memory, or what was taken of the device.
  int64_t measured_bytes() const { return device_bytes() > 0 ? device_bytes() : peak_resident_bytes(); }
  int64_t device_bytes() const { return device_ ? device_->peak_bytes() : 0; }

  NamedNumbers in_use_mib() const;  // by component; a device's run has its host memory under "host_..."
  NamedNumbers peak_mib() const;
  std::string table() const;        // planned, in use, peak

  // A warning, once, when resident memory comes within 5 % of the limit: at the limit the kernel ends the process without a
  // word. nullopt: nothing to say.
  std::optional<std::string> near_limit();

  // Turns an error that says that memory is at its end into an OutOfMemoryError with component, plan and advice; rethrows
  // others as they are. REQUIRES an exception being handled.
  [[noreturn]] void explain() const;

 private:
  NamedNumbers named(int64_t MemoryLine::*value) const;
  [[noreturn]] void refuse(MemoryPart part, MemorySide side, int64_t bytes, const std::string& cause) const;

  MemoryAccount account_;
  MemoryLimit limit_;
  tensor::TorchMemory torch_memory_;
  MemoryPlan plan_;
  std::optional<gpu::MemoryWatch> device_;
  bool warned_ = false;
};

// Runs a command's body with an account of its memory, which explains what goes wrong for want of it. Make no tensor before.
int with_run_memory(const std::function<int(RunMemory&)>& body);

}  // namespace nibble::trainer
