// State memory that shows `at_once` groups at a time, in a place of their own that changes with every window: what paged
// memory may do. Works for the CPU and, under the emulator, for a device.
#pragma once

#include <cstring>
#include <functional>
#include <stdexcept>
#include <vector>

#include "optim/state_memory.h"
#include "tensor/torch.h"

namespace nibble::optim::test {

class WindowMemory final : public StateMemory {
 public:
  // `finish` waits for what was queued.
  explicit WindowMemory(size_t at_once, std::function<void()> finish = [] {}) : at_once_(at_once), finish_(std::move(finish)) {}

  int64_t group_alignment_bytes() const override { return 256; }

  void reserve(const std::vector<StateGroup>& groups) override {
    groups_ = groups;
    home_.resize(groups.empty() ? 0 : static_cast<size_t>(groups.back().offset + groups.back().bytes));
  }
  StateWindow before_update(size_t first) override {
    if (open_) throw std::logic_error("two windows are open");
    open_ = true;
    ++windows;
    const size_t count = std::min(at_once_, groups_.size() - first);
    begin_ = groups_[first].offset;
    bytes_ = groups_[first + count - 1].offset + groups_[first + count - 1].bytes - begin_;
    window_ = at::empty({bytes_ + 64 * static_cast<int64_t>(first + 1)}, at::kByte);
    std::memcpy(data(first), home_.data() + begin_, static_cast<size_t>(bytes_));
    return {data(first), count};
  }
  void after_update(size_t first, size_t /*count*/) override {
    finish_();
    std::memcpy(home_.data() + begin_, data(first), static_cast<size_t>(bytes_));
    open_ = false;
  }
  void read(int64_t offset, int64_t bytes, void* to) override { std::memcpy(to, home_.data() + offset, static_cast<size_t>(bytes)); }
  void write(int64_t offset, int64_t bytes, const void* from) override {
    std::memcpy(home_.data() + offset, from, static_cast<size_t>(bytes));
  }

  int64_t windows = 0;  // opened so far

 private:
  std::byte* data(size_t first) const { return static_cast<std::byte*>(window_.data_ptr()) + 64 * first; }

  size_t at_once_;
  std::function<void()> finish_;
  std::vector<StateGroup> groups_;
  std::vector<std::byte> home_;
  Tensor window_;
  int64_t begin_ = 0, bytes_ = 0;
  bool open_ = false;
};

}  // namespace nibble::optim::test
