// Softmax cross entropy on CUDA: a row's maximum and sum of exponentials in one pass over it (Milakov & Gimelshein 2018,
// arXiv 1805.02867), and its gradient in place in a second. One block a row: 256 rows of a vocabulary of 128k fill a card.
#include <cmath>

#include "gpu/launch.cuh"
#include "nn/cross_entropy_launch.h"
#include "nn/cross_entropy_math.h"
#include "nn/elements.cuh"

namespace nibble::nn {
namespace {

constexpr int kWarp = gpu::kWarpThreads;
constexpr int kAheadBytes = 64;  // that a thread has in flight: with two blocks, 64 KiB of a multiprocessor

__device__ float minus_infinity() { return -INFINITY; }

// Comparing this way round passes over a NaN in b, as the CPU does: the sum finds it.
__device__ float larger(float a, float b) { return a < b ? b : a; }

// sum of exp(x - max) over the elements seen.
struct OnlineSum {
  float max = minus_infinity();
  float sum = 0.0f;

  // Takes another maximum into account. Before the first finite element the reference is 0, so that a logit of minus
  // infinity adds exp(-inf) = 0 and not exp(-inf + inf).
  __device__ float raise(float other) {
    if (max < other) {
      sum *= exp_nonpositive(max - other);
      max = other;
    }
    return max == minus_infinity() ? 0.0f : max;
  }
  __device__ void add(float x) {
    const float reference = raise(x);
    sum += exp_nonpositive(x - reference);
  }
  __device__ void add(float (&x)[kUnitElements]) {
    float largest = minus_infinity();
#pragma unroll
    for (int i = 0; i < kUnitElements; ++i) largest = larger(largest, x[i]);
    const float reference = raise(largest);
#pragma unroll
    for (int i = 0; i < kUnitElements; ++i) x[i] = exp_nonpositive(x[i] - reference);
    sum += sum_eight(x);
  }
};

// The block's maximum, in every thread.
__device__ float block_max(float v) {
  __shared__ float warp_max[kCrossEntropyThreads / kWarp];
  for (int offset = kWarp / 2; offset > 0; offset /= 2) v = larger(v, __shfl_xor_sync(kWholeWarp, v, offset));
  if (threadIdx.x % kWarp == 0) warp_max[threadIdx.x / kWarp] = v;
  __syncthreads();
  for (int w = 0; w < kCrossEntropyThreads / kWarp; ++w) v = larger(v, warp_max[w]);
  return v;
}

// The block's sum, in thread 0.
template <int kThreads>
__device__ double block_sum(double v) {
  __shared__ double warp_sums[kThreads / kWarp];
  const double of_warp = sum_of_lanes(v, kWarp);
  if (threadIdx.x % kWarp == 0) warp_sums[threadIdx.x / kWarp] = of_warp;
  __syncthreads();
  double sum = 0.0;
  if (threadIdx.x == 0) {
    for (int w = 0; w < kThreads / kWarp; ++w) sum += warp_sums[w];
  }
  return sum;
}

// visit(unit, its values, where they are) for a thread's units of a row, several of them loaded before the first is visited: a
// visit may write its own unit.
template <class E, class Visit>
__device__ void each_unit(E* logits, const LogitsRow& row, int thread, const Visit& visit) {
  constexpr int kAhead = kAheadBytes / kUnitElements / static_cast<int>(sizeof(E));
  const auto place = [&](int unit) { return logits + row.head + static_cast<int64_t>(unit) * kUnitElements; };
  for (int first = thread; first < row.units; first += kAhead * kCrossEntropyThreads) {
    Eight<E> eight[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int unit = first + k * kCrossEntropyThreads;
      if (unit < row.units) load_vector(place(unit), eight[k]);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int unit = first + k * kCrossEntropyThreads;
      if (unit >= row.units) continue;
      float v[kUnitElements];
      unpack(eight[k], v);
      visit(unit, v, place(unit));
    }
  }
}

template <class E>
__device__ OnlineSum thread_sum(E* logits, const LogitsRow& row, int thread) {
  OnlineSum online;
  each_unit(logits, row, thread, [&](int, float(&v)[kUnitElements], const E*) { online.add(v); });
  const int end = end_element(row, thread);
  if (end >= 0) online.add(to_float(logits[end]));
  return online;
}

template <class E>
__device__ void write_gradient(E* logits, const LogitsRow& row, int thread, int target, float max, float inverse) {
  each_unit(logits, row, thread, [&](int unit, float(&v)[kUnitElements], E* place) {
#pragma unroll
    for (int i = 0; i < kUnitElements; ++i) v[i] = exp_nonpositive(v[i] - max) * inverse;
    const int hit = target - row.head - unit * kUnitElements;
    if (hit >= 0 && hit < kUnitElements) {
#pragma unroll
      for (int i = 0; i < kUnitElements; ++i) v[i] = i == hit ? v[i] - 1.0f : v[i];
    }
    store_eight(place, v, kUnitElements, true);
  });
  const int end = end_element(row, thread);
  if (end < 0) return;
  const float p = exp_nonpositive(to_float(logits[end]) - max) * inverse;
  gpu::store1(logits + end, end == target ? p - 1.0f : p);
}

template <class E, bool kGradient>
__global__ void __launch_bounds__(kCrossEntropyThreads) cross_entropy_kernel(const CrossEntropyLaunch launch) {
  __shared__ float inverse;
  const int thread = static_cast<int>(threadIdx.x), target = launch.targets[blockIdx.x];
  E* logits = static_cast<E*>(launch.logits) + static_cast<int64_t>(blockIdx.x) * launch.vocab;
  const LogitsRow row = logits_row(reinterpret_cast<uintptr_t>(logits), sizeof(E), static_cast<int>(launch.vocab));
  const OnlineSum online = thread_sum(logits, row, thread);
  const float max = block_max(online.max);
  const double sum = block_sum<kCrossEntropyThreads>(online.sum * exp_nonpositive(online.max - max));
  if (thread == 0) {
    launch.nll[blockIdx.x] = std::log(sum) + static_cast<double>(max) - static_cast<double>(to_float(logits[target]));
    inverse = static_cast<float>(1.0 / sum);
  }
  if (!kGradient) return;
  __syncthreads();
  write_gradient(logits, row, thread, target, max, inverse);
}

template <bool kAccumulate>
__global__ void __launch_bounds__(kNllSumThreads) nll_sum_kernel(const NllSumLaunch launch) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < launch.count; i += kNllSumThreads) sum += launch.nll[i];
  sum = block_sum<kNllSumThreads>(sum);
  if (threadIdx.x == 0) *launch.sum = kAccumulate ? *launch.sum + sum : sum;
}

}  // namespace

void cross_entropy_cuda(const CrossEntropyLaunch& launch, void* stream) {
  if (launch.rows == 0) return;
  expect_launch(launch.logits != nullptr && launch.targets != nullptr && launch.nll != nullptr && launch.vocab >= 1 &&
                    launch.vocab <= INT32_MAX,
                "cross_entropy_cuda", "logits, targets, nll and a vocabulary of 1 to 2^31 - 1");
  const gpu::LaunchShape shape = gpu::launch_shape(launch.rows, 1, kCrossEntropyThreads);
  if (launch.is_bf16) {
    gpu::launch(shape, stream,
                launch.gradient ? cross_entropy_kernel<__nv_bfloat16, true> : cross_entropy_kernel<__nv_bfloat16, false>,
                launch);
  } else {
    gpu::launch(shape, stream, launch.gradient ? cross_entropy_kernel<float, true> : cross_entropy_kernel<float, false>,
                launch);
  }
}

void nll_sum_cuda(const NllSumLaunch& launch, void* stream) {
  expect_launch(launch.sum != nullptr && (launch.nll != nullptr || launch.count == 0), "nll_sum_cuda", "nll and sum");
  gpu::launch(gpu::launch_shape(1, 1, kNllSumThreads), stream,
              launch.accumulate ? nll_sum_kernel<true> : nll_sum_kernel<false>, launch);
}

}  // namespace nibble::nn
