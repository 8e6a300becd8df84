#include "optim/plain_memory.h"

#include <cstring>

#include "optim/device_buffer.h"
#include "tensor/torch.h"

namespace nibble::optim {
namespace {

int64_t end_of(const std::vector<StateGroup>& groups) {
  return groups.empty() ? 0 : groups.back().offset + groups.back().bytes;
}

// [bytes], zeros. By all threads, since the kernel makes pages as they are first written and takes longer for it than the writing.
Tensor zeroed(int64_t bytes) {
  constexpr int64_t kGrain = int64_t{2} << 20;
  const Tensor memory = at::empty({bytes}, at::kByte);
  auto* data = static_cast<std::byte*>(memory.data_ptr());
  at::parallel_for(0, bytes, kGrain, [&](int64_t begin, int64_t end) { std::memset(data + begin, 0, static_cast<size_t>(end - begin)); });
  return memory;
}

class HostMemory final : public StateMemory {
 public:
  void reserve(const std::vector<StateGroup>& groups) override {
    groups_ = groups;
    arena_ = zeroed(end_of(groups));
  }
  StateWindow before_update(size_t first) override { return {data() + groups_[first].offset, groups_.size() - first}; }
  void after_update(size_t /*first*/, size_t /*count*/) override {}
  void read(int64_t offset, int64_t bytes, void* to) override {
    if (bytes > 0) std::memcpy(to, data() + offset, static_cast<size_t>(bytes));
  }
  void write(int64_t offset, int64_t bytes, const void* from) override {
    if (bytes > 0) std::memcpy(data() + offset, from, static_cast<size_t>(bytes));
  }

 private:
  std::byte* data() const { return static_cast<std::byte*>(arena_.data_ptr()); }

  std::vector<StateGroup> groups_;
  Tensor arena_;  // [bytes], uint8; LibTorch's allocations are aligned to 64 bytes
};

class DeviceMemory final : public StateMemory {
 public:
  explicit DeviceMemory(const gpu::Queue& queue) : queue_(queue) {}

  void reserve(const std::vector<StateGroup>& groups) override {
    groups_ = groups;
    const int64_t bytes = end_of(groups);
    arena_ = DeviceBuffer(queue_, bytes);
    if (bytes > 0) runtime().fill_zero(arena_.data(), bytes, queue_.stream);
  }
  StateWindow before_update(size_t first) override { return {data() + groups_[first].offset, groups_.size() - first}; }
  void after_update(size_t /*first*/, size_t /*count*/) override {}
  void read(int64_t offset, int64_t bytes, void* to) override { copy(to, data() + offset, bytes); }
  void write(int64_t offset, int64_t bytes, const void* from) override { copy(data() + offset, from, bytes); }

 private:
  const gpu::RuntimeTable& runtime() const { return *queue_.module->runtime; }
  std::byte* data() const { return arena_.as<std::byte>(); }
  void copy(void* to, const void* from, int64_t bytes) const {
    if (bytes == 0) return;
    runtime().copy(to, from, bytes, queue_.stream);
    runtime().synchronize(queue_.stream);
  }

  gpu::Queue queue_;
  std::vector<StateGroup> groups_;
  DeviceBuffer arena_;  // [bytes]
};

}  // namespace

std::unique_ptr<StateMemory> plain_memory(const gpu::Queue& queue) {
  if (queue) return std::make_unique<DeviceMemory>(queue);
  return std::make_unique<HostMemory>();
}

}  // namespace nibble::optim
