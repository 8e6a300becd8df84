// A run's memory by component, planned and measured: in metrics, beside the plan once the worst step is made, and in the
// message when memory is at its end.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/memory_account.h"
#include "core/memory_limit.h"
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

// Which component a line of the plan belongs to; kLibraries for what no component reports.
MemoryPart part_of(std::string_view plan_component);

class RunMemory {
 public:
  // Counts this thread's LibTorch memory from now on: make it before the first tensor.
  RunMemory() : limit_(memory_limit()), torch_memory_(account_) {}

  MemoryAccount& account() { return account_; }
  const MemoryLimit& limit() const { return limit_; }

  void set_plan(const MemoryPlan& plan) { plan_ = plan; }
  // Says which of the loaded tensors is what. Call it when the adapters are attached.
  void assign(const nn::Model& model);

  // Components that are planned or were used; the last one of host memory is the rest of the process. On a device the rest
  // is not ours to see.
  std::vector<MemoryLine> lines() const;
  int64_t planned_bytes() const { return plan_.total_bytes(); }
  // The largest so far: the process's resident memory, and what was taken of a device.
  int64_t measured_bytes() const { return peak_resident_bytes() + account_.peak_total(MemorySide::kDevice); }

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
  bool warned_ = false;
};

}  // namespace nibble::trainer
