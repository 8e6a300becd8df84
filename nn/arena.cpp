#include "nn/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "core/round_up.h"
#include "gpu/runtime_table.h"
#include "nn/arena_blocks.h"

namespace nibble::nn {
namespace {

std::byte* allocate_on_cpu(int64_t size) {
  void* data = std::aligned_alloc(static_cast<size_t>(kArenaPage), static_cast<size_t>(size));
  if (data != nullptr) madvise(data, static_cast<size_t>(size), MADV_HUGEPAGE);  // fewer page faults; a refusal costs only speed
  return static_cast<std::byte*>(data);
}

}  // namespace

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
  std::byte* data = allocate_on_cpu(size);
  if (data == nullptr) throw AllocationFailed(part_, place_.side(), size, "");
  return {{data, [](std::byte* p) { std::free(p); }}, size, std::move(share)};
}

void Arena::reserve(int64_t bytes) {
  if (blocks_.empty() && bytes > 0) blocks_.push_back(make_block(round_up(bytes, kArenaPage)));
}

Tensor Arena::take(at::IntArrayRef sizes, at::ScalarType dtype) {
  int64_t bytes = static_cast<int64_t>(at::elementSize(dtype));
  for (int64_t n : sizes) bytes *= n;
  const int64_t size = round_up(std::max<int64_t>(bytes, 1), kArenaAlignment);
  while (top_.block < blocks_.size() && top_.used + size > blocks_[top_.block].size) {
    // A block that was made for a smaller shape and is still empty gives way to one that is large enough.
    if (top_.used == 0 && top_.block + 1 == blocks_.size()) {
      blocks_.pop_back();
      break;
    }
    block_used_.resize(top_.block + 1);
    block_used_[top_.block] = top_.used;
    ++top_.block;
    top_.used = 0;
  }
  if (top_.block == blocks_.size()) {
    blocks_.push_back(make_block(round_up(std::max(size, kArenaMinBlock), kArenaPage)));
    top_.used = 0;
  }
  Block& block = blocks_[top_.block];
  std::byte* data = block.data.get() + top_.used;
  top_.used += size;
  const int64_t held = place_.queue ? block.size : std::min(round_up(top_.used, kArenaPage), block.size);
  if (held > block.share.bytes()) block.share.set(held);
  in_use_ += size;
  peak_ = std::max(peak_, in_use_);
  return at::for_blob(data, sizes).options(place_.options(dtype)).target_device(place_.device).make_tensor();
}

void Arena::release(const Mark& mark) {
  int64_t freed = top_.used;
  if (mark.block == top_.block) {
    freed -= mark.used;
  } else {
    for (size_t i = mark.block; i < top_.block; ++i) freed += block_used_[i];
    freed -= mark.used;
  }
  in_use_ -= freed;
  top_ = mark;
}

int64_t Arena::bytes_reserved() const {
  int64_t sum = 0;
  for (const Block& block : blocks_) sum += block.size;
  return sum;
}

}  // namespace nibble::nn
