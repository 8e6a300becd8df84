#include "tensor/torch_allocations.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <atomic>

namespace nibble::tensor {

// A thread has one profiler at a time: what it was told before is passed on.
class TorchAllocations::Reporter final : public c10::MemoryReportingInfoBase {
 public:
  explicit Reporter(at::DeviceType device)
      : device_(device),
        before_(dynamic_cast<c10::MemoryReportingInfoBase*>(c10::ThreadLocalDebugInfo::get(c10::DebugInfoKind::PROFILER_STATE))) {}

  void reportMemoryUsage(void* p, int64_t bytes, size_t allocated, size_t reserved, c10::Device device) override {
    if (bytes > 0 && device.type() == device_) ++count_;
    if (before_ != nullptr && before_->memoryProfilingEnabled()) before_->reportMemoryUsage(p, bytes, allocated, reserved, device);
  }
  void reportOutOfMemory(int64_t bytes, size_t allocated, size_t reserved, c10::Device device) override {
    if (before_ != nullptr && before_->memoryProfilingEnabled()) before_->reportOutOfMemory(bytes, allocated, reserved, device);
  }
  bool memoryProfilingEnabled() const override { return true; }

  int64_t count() const { return count_; }

 private:
  at::DeviceType device_;
  c10::MemoryReportingInfoBase* before_;  // of the guard around this one's
  std::atomic<int64_t> count_ = 0;
};

struct TorchAllocations::Guard {
  c10::DebugInfoGuard guard;
};

TorchAllocations::TorchAllocations(at::DeviceType device)
    : reporter_(std::make_shared<Reporter>(device)), guard_(new Guard{{c10::DebugInfoKind::PROFILER_STATE, reporter_}}) {}

TorchAllocations::~TorchAllocations() = default;

int64_t TorchAllocations::count() const { return reporter_->count(); }

}  // namespace nibble::tensor
