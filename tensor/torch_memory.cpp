#include "tensor/torch_memory.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <exception>
#include <mutex>
#include <unordered_map>

namespace nibble::tensor {

// Called by LibTorch's allocators; a release may come from any code that drops a tensor's last reference.
class TorchMemory::Reporter final : public c10::MemoryReportingInfoBase {
 public:
  explicit Reporter(MemoryAccount& account) : account_(account) {}

  void reportMemoryUsage(void* p, int64_t bytes, size_t /*total_allocated*/, size_t /*total_reserved*/, c10::Device device) override {
    const std::lock_guard lock(mutex_);
    if (bytes > 0) {
      const Block block{account_.stage_part(), device.is_cpu() ? MemorySide::kHost : MemorySide::kDevice, bytes};
      blocks_[p] = block;
      account_.add(block.part, block.side, bytes);
      return;
    }
    const auto found = blocks_.find(p);
    if (found == blocks_.end()) return;
    // What an exception takes along stays in the account, for the message about it.
    if (std::uncaught_exceptions() == 0) account_.add(found->second.part, found->second.side, -found->second.bytes);
    blocks_.erase(found);
  }
  bool memoryProfilingEnabled() const override { return true; }

  void assign(const void* p, MemoryPart part) {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(p);
    if (found == blocks_.end() || found->second.part == part) return;
    Block& block = found->second;
    account_.add(part, block.side, block.bytes);
    account_.add(block.part, block.side, -block.bytes);
    block.part = part;
  }

 private:
  struct Block {
    MemoryPart part;
    MemorySide side;
    int64_t bytes;
  };
  MemoryAccount& account_;
  std::mutex mutex_;
  std::unordered_map<const void*, Block> blocks_;
};

struct TorchMemory::Guard {
  c10::DebugInfoGuard guard;
};

TorchMemory::TorchMemory(MemoryAccount& account)
    : reporter_(std::make_shared<Reporter>(account)), guard_(new Guard{{c10::DebugInfoKind::PROFILER_STATE, reporter_}}) {}

TorchMemory::~TorchMemory() = default;

void TorchMemory::assign(const Tensor& tensor, MemoryPart part) {
  if (tensor.defined() && tensor.has_storage()) reporter_->assign(tensor.storage().data(), part);
}

}  // namespace nibble::tensor
