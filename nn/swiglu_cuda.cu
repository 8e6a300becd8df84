// SwiGLU on CUDA, forward and backward: a thread takes eight elements of a row. Rounding as in swiglu_cpu.cpp.
#include "gpu/launch.cuh"
#include "nn/elements.cuh"
#include "nn/swiglu_launch.h"
#include "nn/swiglu_math.h"

namespace nibble::nn {
namespace {

template <class E>
__device__ const E* unit_of(const void* p, int64_t stride, const RowUnit& at) {
  return static_cast<const E*>(p) + at.row * stride + at.unit * kUnitElements;
}
template <class E>
__device__ E* unit_of(void* p, int64_t stride, const RowUnit& at) {
  return static_cast<E*>(p) + at.row * stride + at.unit * kUnitElements;
}

template <class E>
__global__ void __launch_bounds__(kRowThreads)
    swiglu_kernel(const SwigluLaunch launch, const RowMatrix matrix, const bool vector) {
  const RowUnit at = row_unit(matrix.tiles, blockIdx.x, static_cast<int>(threadIdx.x));
  if (!at.exists) return;
  const int count = unit_elements(at.unit, matrix.width);
  const Eight<E> gate = load_eight(unit_of<E>(launch.gate, launch.gate_stride, at), count, vector);
  const Eight<E> up = load_eight(unit_of<E>(launch.up, launch.up_stride, at), count, vector);
  float g[kUnitElements], u[kUnitElements];
  unpack(gate, g);
  unpack(up, u);
#pragma unroll
  for (int i = 0; i < kUnitElements; ++i) u[i] = round_to<E>(silu_parts(g[i]).silu) * u[i];
  store_eight(unit_of<E>(launch.out, launch.out_stride, at), u, count, vector);
}

template <class E>
__global__ void __launch_bounds__(kRowThreads)
    swiglu_backward_kernel(const SwigluGradLaunch launch, const RowMatrix matrix, const bool vector) {
  const RowUnit at = row_unit(matrix.tiles, blockIdx.x, static_cast<int>(threadIdx.x));
  if (!at.exists) return;
  const int count = unit_elements(at.unit, matrix.width);
  const Eight<E> gate = load_eight(unit_of<E>(launch.gate, launch.gate_stride, at), count, vector);
  const Eight<E> up = load_eight(unit_of<E>(launch.up, launch.up_stride, at), count, vector);
  const Eight<E> dout = load_eight(unit_of<E>(launch.dout, launch.dout_stride, at), count, vector);
  float g[kUnitElements], u[kUnitElements], d[kUnitElements], act[kUnitElements];
  unpack(gate, g);
  unpack(up, u);
  unpack(dout, d);
#pragma unroll
  for (int i = 0; i < kUnitElements; ++i) {
    const SiluParts parts = silu_parts(g[i]);
    const float d_silu = round_to<E>(d[i] * u[i]), silu = round_to<E>(parts.silu);
    act[i] = silu * u[i];
    u[i] = d[i] * silu;
    g[i] = d_silu * silu_derivative(g[i], parts.sigmoid);
  }
  store_eight(unit_of<E>(launch.dgate, launch.dgate_stride, at), g, count, vector);
  store_eight(unit_of<E>(launch.dup, launch.dup_stride, at), u, count, vector);
  if (launch.act != nullptr) store_eight(unit_of<E>(launch.act, launch.act_stride, at), act, count, vector);
}

template <class Launch, class Kernel>
void launch_rows(const Launch& launch, Kernel* kernel, std::initializer_list<const void*> pointers,
                 std::initializer_list<int64_t> strides, void* stream) {
  const RowMatrix matrix = row_matrix(launch.rows, launch.width, strides);
  gpu::launch(row_tiles_shape(matrix.tiles), stream, kernel, launch, matrix,
              units_are_aligned(pointers, matrix.rows, strides));
}

}  // namespace

void swiglu_cuda(const SwigluLaunch& launch, void* stream) {
  if (launch.rows == 0) return;
  expect_launch(launch.gate != nullptr && launch.up != nullptr && launch.out != nullptr && launch.width >= 1, "swiglu_cuda",
                "gate, up, out and a width of at least 1");
  launch_rows(launch, launch.is_bf16 ? swiglu_kernel<__nv_bfloat16> : swiglu_kernel<float>,
              {launch.gate, launch.up, launch.out}, {launch.gate_stride, launch.up_stride, launch.out_stride}, stream);
}

void swiglu_backward_cuda(const SwigluGradLaunch& launch, void* stream) {
  if (launch.rows == 0) return;
  expect_launch(launch.dout != nullptr && launch.gate != nullptr && launch.up != nullptr && launch.dgate != nullptr &&
                    launch.dup != nullptr && launch.width >= 1,
                "swiglu_backward_cuda", "dout, gate, up, dgate, dup and a width of at least 1");
  launch_rows(launch, launch.is_bf16 ? swiglu_backward_kernel<__nv_bfloat16> : swiglu_backward_kernel<float>,
              {launch.dout, launch.gate, launch.up, launch.dgate, launch.dup, launch.act},
              {launch.dout_stride, launch.gate_stride, launch.up_stride, launch.dgate_stride, launch.dup_stride,
               launch.act == nullptr ? launch.dgate_stride : launch.act_stride},
              stream);
}

}  // namespace nibble::nn
