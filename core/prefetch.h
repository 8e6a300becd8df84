// Fetching what a loop will read: the prefetchers of some CPUs do not keep up with a weight that lies in memory, and none follows steps
// of more than a page (docs/kernels.md).
#pragma once

#include <cstdint>

namespace nibble {

// The cache line of what will be read 4 KiB later. Addresses that are not there do no harm.
inline void prefetch_ahead(const void* at) {
  constexpr int64_t kAhead = 4096;
  __builtin_prefetch(static_cast<const char*>(at) + kAhead);
}

// All lines of so many bytes.
inline void prefetch_bytes(const void* at, int64_t bytes) {
  constexpr int64_t kLine = 64;
  for (int64_t i = 0; i < bytes; i += kLine) __builtin_prefetch(static_cast<const char*>(at) + i);
}

}  // namespace nibble
