#include "gpu/memory_watch.h"

#include <algorithm>

#include "gpu/runtime_table.h"

namespace nibble::gpu {

MemoryWatch::MemoryWatch(const Queue& queue) {
  if (!queue) return;
  runtime_ = queue.module->runtime;
  int64_t total = 0;
  runtime_->memory(&free_before_, &total);
}

int64_t MemoryWatch::look() {
  if (runtime_ == nullptr) return 0;
  int64_t free_now = 0, total = 0;
  runtime_->memory(&free_now, &total);
  const int64_t used = std::max<int64_t>(0, free_before_ - free_now);  // others may have given memory back
  peak_ = std::max(peak_, used);
  return used;
}

}  // namespace nibble::gpu
