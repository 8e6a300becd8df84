#include "nn/arena_blocks.h"

#include <numeric>

namespace nibble::nn {

void BlockStack::release(const Mark& mark) {
  int64_t freed = top_.used - mark.used;
  for (size_t i = mark.block; i < top_.block; ++i) freed += used_[i];
  in_use_ -= freed;
  top_ = mark;
}

BlockStack::State BlockStack::state() const {
  const auto full = static_cast<std::ptrdiff_t>(std::min(top_.block, used_.size()));
  return {top_, in_use_, {used_.begin(), used_.begin() + full}};
}

void BlockStack::restore(const State& state) {
  top_ = state.top;
  in_use_ = state.in_use;
  used_ = state.used;
  peak_ = std::max(peak_, in_use_);
  phase_peak_ = std::max(phase_peak_, in_use_);
}

int64_t BlockStack::reserved_bytes() const { return std::accumulate(sizes_.begin(), sizes_.end(), int64_t{0}); }

}  // namespace nibble::nn
