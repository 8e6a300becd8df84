// Which memory a paged arena gets, and how much of it may be resident: decided by probing when the arena's size is known.
#pragma once

#include <cstdint>
#include <filesystem>

#include "gpu/module.h"

namespace nibble::optim {

struct PagedOptions {
  int64_t budget_bytes = 0;      // resident at most; 0: the whole arena, or what the device has free if that is less
  int64_t page_bytes = 2 << 20;  // a power of two; the default is what CUDA's driver keeps together
  bool oversubscribe = false;    // managed memory may be larger than what the device has free
  bool staged = false;           // pinned staging, even where the device pages on its own
  std::filesystem::path folder;  // on a CPU: where the file goes if the budget does not hold the arena
  gpu::Queue queue;              // empty: on the CPU
  int device = 0;
};

enum class PagedMemory : uint8_t {
  kManaged,  // unified memory, where the device pages it (concurrentManagedAccess)
  kStaged,   // pinned host memory and device windows, where it does not, or where that was asked for
  kHost,     // a CPU's memory, all of it
  kFile,     // a CPU's memory under a budget, the rest in a file
};

const char* paged_memory_name(PagedMemory memory);  // "managed", "staged", "host", "file"

struct PagedChoice {
  PagedMemory memory;
  int64_t budget_bytes;  // a number of whole pages
};

// THROWS OutOfMemoryError, with numbers and advice: the choice is managed memory, the arena is larger than what the device
// has free, and oversubscription was not allowed; or a CPU's budget needs a file and there is no folder for it.
// THROWS CudaError where the device cannot be asked.
PagedChoice choose_paged_memory(const PagedOptions& options, int64_t arena_bytes);

}  // namespace nibble::optim
