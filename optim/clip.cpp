#include "optim/clip.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace nibble::optim {
namespace {

// Elements a chunk: large enough to hide the loop around it, small enough to share two million among threads.
constexpr int64_t kChunk = 16384;
// Independent sums, so that the additions can run side by side on any vector width without a change in their order.
constexpr int64_t kLanes = 16;

double chunk_square_sum(const float* values, int64_t n) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (; i < n; ++i) {
    const double value = values[i];
    lanes[i % kLanes] += value * value;
  }
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

struct Chunk {
  const float* values;
  int64_t count;
};

}  // namespace

double global_norm(const std::vector<Tensor>& gradients) {
  std::vector<Chunk> chunks;
  for (const Tensor& gradient : gradients) {
    if (gradient.scalar_type() != at::kFloat || !gradient.is_contiguous()) {
      throw std::invalid_argument("global_norm needs contiguous fp32 gradients");
    }
    const auto* values = gradient.const_data_ptr<float>();
    for (int64_t at = 0; at < gradient.numel(); at += kChunk) {
      chunks.push_back({values + at, std::min(kChunk, gradient.numel() - at)});
    }
  }
  std::vector<double> sums(chunks.size());
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      sums[i] = chunk_square_sum(chunks[i].values, chunks[i].count);
    }
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

bool ClippedGradient::finite() const { return std::isfinite(grad_norm); }

ClippedGradient clip(const std::vector<Tensor>& gradients, int64_t trained_tokens, double max_grad_norm) {
  if (trained_tokens < 1) throw std::invalid_argument("a step without trained tokens has no gradient to clip");
  const auto tokens = static_cast<double>(trained_tokens);
  ClippedGradient result;
  result.grad_norm = global_norm(gradients) / tokens;
  double factor = 1.0;
  // The epsilon keeps the quotient finite at norm zero, as torch does. NaN fails the comparison and is the caller's
  // to handle: finite() tells.
  if (max_grad_norm > 0.0) factor = std::min(1.0, max_grad_norm / (result.grad_norm + 1e-6));
  result.scale = static_cast<float>(factor / tokens);
  return result;
}

}  // namespace nibble::optim
