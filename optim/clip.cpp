#include "optim/clip.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "optim/clip_cpu.h"

namespace nibble::optim {
namespace {

struct Chunk {
  const float* values;
  int64_t count;
};

double square_sum(const std::vector<Tensor>& gradients) {
  std::vector<Chunk> chunks;
  for (const Tensor& gradient : gradients) {
    if (gradient.scalar_type() != at::kFloat || !gradient.is_contiguous()) {
      throw std::invalid_argument("global_norm needs contiguous fp32 gradients");
    }
    const auto* values = gradient.const_data_ptr<float>();
    for (int64_t at = 0; at < gradient.numel(); at += kChunkElements) {
      chunks.push_back({values + at, std::min<int64_t>(kChunkElements, gradient.numel() - at)});
    }
  }
  std::vector<double> sums(chunks.size());
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      sums[i] = chunk_square_sum_cpu(chunks[i].values, chunks[i].count);
    }
  });
  return total_square_sum_cpu(sums.data(), static_cast<int64_t>(sums.size()));
}

}  // namespace

double global_norm(const std::vector<Tensor>& gradients) { return std::sqrt(square_sum(gradients)); }

ClippedGradient clip(const std::vector<Tensor>& gradients, int64_t trained_tokens, double max_grad_norm) {
  if (trained_tokens < 1) throw std::invalid_argument("a step without trained tokens has no gradient to clip");
  return clipped_gradient(square_sum(gradients), static_cast<double>(trained_tokens), max_grad_norm);
}

}  // namespace nibble::optim
