// RMSNorm on CUDA: forward, with the residual add before it, and backward. One pass over memory: a row is loaded once, stays
// in registers while its sum is made, and is written once. Rounding as in rms_norm_cpu.cpp.
#include "gpu/launch.cuh"
#include "nn/elements.cuh"
#include "nn/rms_norm_launch.h"
#include "nn/rms_norm_math.h"

namespace nibble::nn {
namespace {

// Said aloud: left to itself, ptxas spills on sm_86 for the sake of a second block of the most threads.
constexpr int kResidentBlocks = 1;

// A thread's share of its group's rows. kVector: every unit is whole and aligned to 16 bytes.
template <class E, bool kVector, bool kNarrow>
struct RowShare {
  static constexpr int kRows = kNarrow ? kNormNarrowRows : 1;
  static constexpr int kHeld = kNarrow ? 1 : kNormHeldUnits;

  NormGeometry geometry;
  int64_t count;
  int64_t width;

  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int lane() const { return norm_unit(geometry, thread(), 0); }
  __device__ int64_t row(int r) const { return norm_row(geometry, blockIdx.x, thread(), r); }

  // visit(r, k, unit) for the units that stay in registers.
  template <class Visit>
  __device__ void each_held(const Visit& visit) const {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int k = 0; k < kHeld; ++k) {
        const int unit = norm_unit(geometry, thread(), k);
        if (row(r) < count && unit < geometry.units) visit(r, k, unit);
      }
    }
  }

  // And for those that are read again, with k = -1: only rows wider than 16384 have them.
  template <class Visit>
  __device__ void each(const Visit& visit) const {
    each_held(visit);
    if constexpr (!kNarrow) {
      for (int unit = norm_unit(geometry, thread(), kHeld); unit < geometry.units; unit += geometry.lanes) visit(0, -1, unit);
    }
  }

  __device__ int unit_size(int unit) const { return kVector ? kUnitElements : unit_elements(unit, width); }
  __device__ Eight<E> load(const void* p, int64_t stride, int r, int unit) const {
    const E* first = static_cast<const E*>(p) + row(r) * stride + static_cast<int64_t>(unit) * kUnitElements;
    return load_eight(first, unit_size(unit), kVector);
  }
  __device__ void store(void* p, int64_t stride, int r, int unit, const float (&v)[kUnitElements]) const {
    E* first = static_cast<E*>(p) + row(r) * stride + static_cast<int64_t>(unit) * kUnitElements;
    store_eight(first, v, unit_size(unit), kVector);
  }

  // Each row's value becomes finish(sum of it over the group's lanes, r), one lane working for each row.
  template <class Finish>
  __device__ void reduce(float (&value)[kRows], const Finish& finish) const {
    constexpr int kWarp = gpu::kWarpThreads;
    const int warp = thread() / kWarp, warp_lane = thread() % kWarp;
    if (kNarrow) {
      float mine = 0.0f;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float sum = sum_of_lanes(value[r], geometry.lanes);
        if (lane() == r) mine = sum;
      }
      const float result = lane() < kRows && row(lane()) < count ? finish(mine, lane()) : 0.0f;
#pragma unroll
      for (int r = 0; r < kRows; ++r) value[r] = __shfl_sync(kWholeWarp, result, warp_lane - lane() + r);
      return;
    }
    __shared__ float warp_sums[kNormMostThreads / kWarp];
    __shared__ float result;
    const float sum = sum_of_lanes(value[0], kWarp);
    if (warp_lane == 0) warp_sums[warp] = sum;
    __syncthreads();
    if (warp == 0) {
      const double of_warp = warp_lane < geometry.threads / kWarp ? warp_sums[warp_lane] : 0.0;
      const double total = sum_of_lanes(of_warp, kWarp);
      if (warp_lane == 0) result = finish(total, 0);
    }
    __syncthreads();
    value[0] = result;
  }
};

template <class E, bool kVector, bool kNarrow>
__global__ void __launch_bounds__(kNarrow ? kNormNarrowThreads : kNormMostThreads, kResidentBlocks)
    rms_norm_kernel(const RmsNormRows<void> rows, const RowShare<E, kVector, kNarrow> share) {
  constexpr int kRows = RowShare<E, kVector, kNarrow>::kRows, kHeld = RowShare<E, kVector, kNarrow>::kHeld;
  Eight<E> x[kRows][kHeld], delta[kRows][kHeld], weight[kHeld];
  share.each_held([&](int r, int k, int unit) {
    x[r][k] = share.load(rows.x, rows.x_stride, r, unit);
    if (rows.delta != nullptr) delta[r][k] = share.load(rows.delta, rows.delta_stride, r, unit);
    if (r == 0) weight[k] = share.load(rows.weight, 0, 0, unit);
  });

  float rstd[kRows] = {};
  share.each([&](int r, int k, int unit) {
    float v[kUnitElements], squares[kUnitElements];
    unpack(k >= 0 ? x[r][k] : share.load(rows.x, rows.x_stride, r, unit), v);
    if (rows.delta != nullptr) {
      float d[kUnitElements];
      unpack(k >= 0 ? delta[r][k] : share.load(rows.delta, rows.delta_stride, r, unit), d);
#pragma unroll
      for (int i = 0; i < kUnitElements; ++i) v[i] = round_to<E>(v[i] + d[i]);
      share.store(rows.x, rows.x_stride, r, unit, v);
      if (k >= 0) pack(v, x[r][k]);
    }
#pragma unroll
    for (int i = 0; i < kUnitElements; ++i) squares[i] = v[i] * v[i];
    rstd[r] += sum_eight(squares);
  });
  share.reduce(rstd, [&](double sum, int r) {
    const float result = rms_norm_rstd(sum, rows.width, rows.eps);
    if (rows.rstd != nullptr) rows.rstd[share.row(r)] = result;
    return result;
  });

  share.each([&](int r, int k, int unit) {
    float v[kUnitElements], w[kUnitElements];
    unpack(k >= 0 ? x[r][k] : share.load(rows.x, rows.x_stride, r, unit), v);
    unpack(k >= 0 ? weight[k] : share.load(rows.weight, 0, 0, unit), w);
#pragma unroll
    for (int i = 0; i < kUnitElements; ++i) v[i] = round_to<E>(v[i] * rstd[r]) * w[i];
    share.store(rows.y, rows.y_stride, r, unit, v);
  });
}

template <class E, bool kVector, bool kNarrow>
__global__ void __launch_bounds__(kNarrow ? kNormNarrowThreads : kNormMostThreads, kResidentBlocks)
    rms_norm_backward_kernel(const RmsNormGradRows<void> rows, const RowShare<E, kVector, kNarrow> share) {
  constexpr int kRows = RowShare<E, kVector, kNarrow>::kRows, kHeld = RowShare<E, kVector, kNarrow>::kHeld;
  constexpr bool kOldHeld = kVector && sizeof(E) == 2;  // what dx was, where registers are left for it
  Eight<E> dy[kRows][kHeld], x[kRows][kHeld], old[kRows][kHeld];
  share.each_held([&](int r, int k, int unit) {
    dy[r][k] = share.load(rows.dy, rows.dy_stride, r, unit);
    x[r][k] = share.load(rows.x, rows.x_stride, r, unit);
    if (kOldHeld && rows.accumulate) old[r][k] = share.load(rows.dx, rows.dx_stride, r, unit);
  });
  // g = dy * weight and x of one unit. The weight is read twice: all rows share it, so the cache has it.
  const auto unpack_unit = [&](int r, int k, int unit, float(&g)[kUnitElements], float(&v)[kUnitElements]) {
    float w[kUnitElements];
    unpack(share.load(rows.weight, 0, 0, unit), w);
    unpack(k >= 0 ? dy[r][k] : share.load(rows.dy, rows.dy_stride, r, unit), g);
    unpack(k >= 0 ? x[r][k] : share.load(rows.x, rows.x_stride, r, unit), v);
#pragma unroll
    for (int i = 0; i < kUnitElements; ++i) g[i] = round_to<E>(g[i] * w[i]);
  };

  float factor[kRows] = {};
  share.each([&](int r, int k, int unit) {
    float g[kUnitElements], v[kUnitElements];
    unpack_unit(r, k, unit, g, v);
#pragma unroll
    for (int i = 0; i < kUnitElements; ++i) v[i] *= g[i];
    factor[r] += sum_eight(v);
  });
  share.reduce(factor, [&](double dot, int r) {
    return rms_norm_backward_factor(dot, rows.width, rows.rstd[share.row(r)]);
  });

  share.each([&](int r, int k, int unit) {
    float g[kUnitElements], v[kUnitElements];
    unpack_unit(r, k, unit, g, v);
    const float rstd = rows.rstd[share.row(r)];
#pragma unroll
    for (int i = 0; i < kUnitElements; ++i) v[i] = rstd * (g[i] - v[i] * factor[r]);
    if (rows.accumulate) {
      unpack(kOldHeld && k >= 0 ? old[r][k] : share.load(rows.dx, rows.dx_stride, r, unit), g);
#pragma unroll
      for (int i = 0; i < kUnitElements; ++i) v[i] = g[i] + v[i];
    }
    share.store(rows.dx, rows.dx_stride, r, unit, v);
  });
}

template <class E, bool kVector, bool kNarrow>
void launch(const RmsNormLaunch& what, const NormGeometry& g, void* stream) {
  const RowShare<E, kVector, kNarrow> share{g, what.count, what.rows.width};
  gpu::launch(norm_shape(g, what.count), stream, rms_norm_kernel<E, kVector, kNarrow>, what.rows, share);
}
template <class E, bool kVector, bool kNarrow>
void launch(const RmsNormGradLaunch& what, const NormGeometry& g, void* stream) {
  const RowShare<E, kVector, kNarrow> share{g, what.count, what.rows.width};
  gpu::launch(norm_shape(g, what.count), stream, rms_norm_backward_kernel<E, kVector, kNarrow>, what.rows, share);
}

template <class E, class Launch>
void choose(const Launch& what, bool aligned, void* stream) {
  const bool vector = aligned && what.rows.width % kUnitElements == 0;
  const NormGeometry g = norm_geometry(what.rows.width, vector);
  if (g.narrow()) {
    launch<E, true, true>(what, g, stream);
  } else if (vector) {
    launch<E, true, false>(what, g, stream);
  } else {
    launch<E, false, false>(what, g, stream);
  }
}

}  // namespace

void rms_norm_cuda(const RmsNormLaunch& launch, void* stream) {
  if (launch.count == 0) return;
  const RmsNormRows<void>& rows = launch.rows;
  expect_launch(rows.x != nullptr && rows.weight != nullptr && rows.y != nullptr && rows.width >= 1 &&
                    rows.width <= INT32_MAX,
                "rms_norm_cuda", "x, weight, y and a width of 1 to 2^31 - 1");
  const bool aligned = units_are_aligned({rows.x, rows.delta, rows.weight, rows.y}, launch.count,
                                         {rows.x_stride, rows.delta_stride, rows.y_stride});
  launch.is_bf16 ? choose<__nv_bfloat16>(launch, aligned, stream) : choose<float>(launch, aligned, stream);
}

void rms_norm_backward_cuda(const RmsNormGradLaunch& launch, void* stream) {
  if (launch.count == 0) return;
  const RmsNormGradRows<void>& rows = launch.rows;
  expect_launch(rows.dy != nullptr && rows.x != nullptr && rows.weight != nullptr && rows.rstd != nullptr &&
                    rows.dx != nullptr && rows.width >= 1 && rows.width <= INT32_MAX,
                "rms_norm_backward_cuda", "dy, x, weight, rstd, dx and a width of 1 to 2^31 - 1");
  const bool aligned = units_are_aligned({rows.dy, rows.x, rows.weight, rows.dx}, launch.count,
                                         {rows.dy_stride, rows.x_stride, rows.dx_stride});
  launch.is_bf16 ? choose<__nv_bfloat16>(launch, aligned, stream) : choose<float>(launch, aligned, stream);
}

}  // namespace nibble::nn
