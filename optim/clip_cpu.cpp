#include "optim/clip_cpu.h"

#include "optim/clip_math.h"

namespace nibble::optim {
namespace {

double tree_sum(double (&lanes)[kChunkThreads]) {
  for (int stride = kChunkThreads / 2; stride > 0; stride /= 2) {
    for (int lane = 0; lane < stride; ++lane) lanes[lane] += lanes[lane + stride];
  }
  return lanes[0];
}

}  // namespace

double chunk_square_sum_cpu(const float* values, int64_t n) {
  alignas(64) double lanes[kChunkThreads] = {};
  int64_t i = 0;
  for (; i + kChunkThreads <= n; i += kChunkThreads) {
    for (int lane = 0; lane < kChunkThreads; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (int lane = 0; i < n; ++i, ++lane) {
    const double value = values[i];
    lanes[lane] += value * value;
  }
  return tree_sum(lanes);
}

double total_square_sum_cpu(const double* chunk_sums, int64_t chunks) {
  alignas(64) double lanes[kChunkThreads] = {};
  for (int64_t chunk = 0; chunk < chunks; ++chunk) lanes[chunk % kChunkThreads] += chunk_sums[chunk];
  return tree_sum(lanes);
}

}  // namespace nibble::optim
