#include "optim/paged_choice.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/round_up.h"
#include "gpu/runtime_table.h"

namespace nibble::optim {
namespace {

int64_t mib(int64_t bytes) { return ceil_div(bytes, 1 << 20); }

PagedChoice choose_on_device(const PagedOptions& options, int64_t arena_bytes, int64_t wanted_bytes) {
  const gpu::DeviceInfo info = options.queue.module->runtime->device_info(options.device);
  const int64_t page = options.page_bytes;
  const int64_t budget = std::min(wanted_bytes, info.free_bytes / page * page);
  if (!info.has_managed_memory || options.staged) return {PagedMemory::kStaged, budget};
  // The allocation has a page to spare, to begin on a page's border.
  if (arena_bytes + page > info.free_bytes && !options.oversubscribe) {
    throw OutOfMemoryError(fmt::format(
        "the optimizer state is {} MiB of managed memory, but {} has {} of {} MiB free. More managed memory than that can "
        "stall the device for everybody on it; on a card of your own, paged_oversubscribe: true allows it. Otherwise use an "
        "8-bit optimizer (paged_adamw_8bit), or lower lora_r",
        mib(arena_bytes), info.name, info.free_bytes >> 20, info.total_bytes >> 20));
  }
  return {PagedMemory::kManaged, budget};
}

}  // namespace

const char* paged_memory_name(PagedMemory memory) {
  switch (memory) {
    case PagedMemory::kManaged: return "managed";
    case PagedMemory::kStaged: return "staged";
    case PagedMemory::kHost: return "host";
    case PagedMemory::kFile: return "file";
  }
  return "";
}

PagedChoice choose_paged_memory(const PagedOptions& options, int64_t arena_bytes) {
  const int64_t page = options.page_bytes;
  const int64_t whole = round_up(arena_bytes, page);
  const int64_t wanted = options.budget_bytes > 0 ? std::min(options.budget_bytes / page * page, whole) : whole;
  if (options.queue) return choose_on_device(options, arena_bytes, wanted);
  if (wanted == whole) return {PagedMemory::kHost, whole};
  if (options.folder.empty()) {
    throw OutOfMemoryError(fmt::format(
        "the optimizer state is {} MiB, the budget for it (paged_budget_mib) {} MiB, and there is no folder for the rest; "
        "set output_dir, or raise the budget",
        mib(arena_bytes), mib(options.budget_bytes)));
  }
  return {PagedMemory::kFile, wanted};
}

}  // namespace nibble::optim
