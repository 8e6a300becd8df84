#include "nn/dropout.h"

#include <algorithm>

#include "nn/cuda_table.h"
#include "nn/dropout_math.h"

namespace nibble::nn {
namespace {

template <class Scalar>
void dropout_range(const Scalar* x, Scalar* y, int64_t begin, int64_t end, float p, const RngKey& key) {
  const uint32_t threshold = dropout_threshold(p);
  const float keep_scale = dropout_keep_scale(p);
  for (int64_t block = begin / 4; block * 4 < end; ++block) {
    const auto bits = random_block(key, static_cast<uint64_t>(block));
    const int64_t first = std::max(block * 4, begin), last = std::min(block * 4 + 4, end);
    for (int64_t i = first; i < last; ++i) {
      y[i] = static_cast<Scalar>(dropout_value(static_cast<float>(x[i]), bits[static_cast<size_t>(i & 3)], threshold, keep_scale));
    }
  }
}

void dropout_queued(const Tensor& x, const Tensor& y, float p, const RngKey& key, const uint64_t* step, bool accumulate,
                    const gpu::Queue& queue) {
  queue.module->nn->dropout({x.data_ptr(), y.data_ptr(), x.numel(), p, key, step, accumulate, x.scalar_type() == at::kBFloat16}, queue.stream);
}

}  // namespace

void dropout(const Tensor& x, const Tensor& y, float p, const RngKey& key, const gpu::Queue& queue, const uint64_t* step) {
  if (queue) return dropout_queued(x, y, p, key, step, /*accumulate=*/false, queue);
  constexpr int64_t kGrain = 1 << 14;
  at::parallel_for(0, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    if (x.scalar_type() == at::kFloat) {
      dropout_range(x.const_data_ptr<float>(), y.mutable_data_ptr<float>(), begin, end, p, key);
    } else {
      dropout_range(x.const_data_ptr<at::BFloat16>(), y.mutable_data_ptr<at::BFloat16>(), begin, end, p, key);
    }
  });
}

void add_dropout(const Tensor& x, const Tensor& y, float p, const RngKey& key, const gpu::Queue& queue, const uint64_t* step) {
  if (queue) return dropout_queued(x, y, p, key, step, /*accumulate=*/true, queue);
  dropout(x, x, p, key);
  y.add_(x);
}

}  // namespace nibble::nn
