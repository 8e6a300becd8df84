#include "nn/arena.h"

#include <algorithm>
#include <cstdlib>

#include "gpu/runtime_table.h"

namespace nibble::nn {

Arena::Block Arena::make_block(int64_t size) const {
  MemoryShare share(place_.account, part_, place_.side());
  if (const gpu::Queue& queue = place_.queue) {
    const gpu::RuntimeTable* runtime = queue.module->runtime;
    try {
      return {{static_cast<std::byte*>(runtime->allocate(size)), [runtime](std::byte* p) { runtime->release(p); }}, size, std::move(share)};
    } catch (const CudaError& e) {
      if (!says_out_of_memory(e.what())) throw;
      throw AllocationFailed(part_, place_.side(), size, e.message());
    }
  }
  // Huge pages are not asked for: a kernel waits until one thread has cleared 2 MiB, which takes that thread 3 to 7 ms where a virtual
  // machine's host gives memory anew, and steps are not faster on them (docs/benchmarks.md).
  auto* const data = static_cast<std::byte*>(std::aligned_alloc(static_cast<size_t>(kArenaPage), static_cast<size_t>(size)));
  if (data == nullptr) throw AllocationFailed(part_, place_.side(), size, "");
  return {{data, [](std::byte* p) { std::free(p); }}, size, std::move(share)};
}

void Arena::reserve(int64_t bytes) { stack_.reserve(bytes, Blocks{*this}); }

Tensor Arena::take(at::IntArrayRef sizes, at::ScalarType dtype) {
  int64_t bytes = static_cast<int64_t>(at::elementSize(dtype));
  for (int64_t n : sizes) bytes *= n;
  const BlockStack::Spot spot = stack_.take(bytes, Blocks{*this});
  Block& block = blocks_[spot.block];
  const int64_t held = place_.queue ? block.size : std::min(round_up(spot.end, kArenaPage), block.size);
  if (held > block.share.bytes()) block.share.set(held);
  return at::for_blob(block.data.get() + spot.begin, sizes).options(place_.options(dtype)).target_device(place_.device).make_tensor();
}

void Arena::describe_to(std::vector<int64_t>& key) const {
  const BlockStack::State now = stack_.state();
  key.insert(key.end(), {static_cast<int64_t>(blocks_.size()), static_cast<int64_t>(now.top.block), now.top.used, now.in_use});
  key.insert(key.end(), now.used.begin(), now.used.end());
  for (size_t i = now.top.block; i < blocks_.size(); ++i) {
    key.insert(key.end(), {reinterpret_cast<int64_t>(blocks_[i].data.get()), blocks_[i].size});
  }
}

}  // namespace nibble::nn
