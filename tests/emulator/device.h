// CUDA's device language for g++: what the compiler builds in and CUDA's headers declare for nvcc only. Included before every
// .cu file of the emulated module. Only what is right on the CPU to the last bit is here: fast-math functions (__expf)
// and whatever else a kernel must not use do not compile.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/emulator/block.h"
#include "tests/emulator/launch.h"

// Shared memory is the thread-local storage of the emulated module, which has no other (tests/emulator/shared_memory.h).
#undef __shared__
#define __shared__ static thread_local
#undef __launch_bounds__
#define __launch_bounds__(...)

#define cudaLaunchKernelEx ::nibble::emulator::launch_kernel

// ---- waiting for others
inline void __syncthreads() { nibble::emulator::meet_block(); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) {
  nibble::emulator::meet_warp(nibble::emulator::WarpOperation::kSync, mask, 0, nibble::emulator::lane_of_thread());
}
inline void __threadfence() { asm volatile("" ::: "memory"); }
inline void __threadfence_block() { __threadfence(); }
inline void __nanosleep(unsigned) { nibble::emulator::wait_for_other_blocks(); }

// ---- shuffles: sources as the PTX manual gives them for shfl.sync; a source outside the segment is the lane itself
namespace nibble::emulator {

template <class T>
T shuffle(WarpOperation operation, unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = meet_warp(operation, mask, bits, source);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace nibble::emulator

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int first = nibble::emulator::lane_of_thread() & ~(width - 1);
  return nibble::emulator::shuffle(nibble::emulator::WarpOperation::kShuffle, mask, value, first + (source & (width - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = nibble::emulator::lane_of_thread(), source = lane - static_cast<int>(delta);
  return nibble::emulator::shuffle(nibble::emulator::WarpOperation::kShuffleUp, mask, value,
                                   source < (lane & ~(width - 1)) ? lane : source);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = nibble::emulator::lane_of_thread(), source = lane + static_cast<int>(delta);
  return nibble::emulator::shuffle(nibble::emulator::WarpOperation::kShuffleDown, mask, value,
                                   source > (lane | (width - 1)) ? lane : source);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  const int lane = nibble::emulator::lane_of_thread(), source = lane ^ lane_mask;
  return nibble::emulator::shuffle(nibble::emulator::WarpOperation::kShuffleXor, mask, value,
                                   source > (lane | (width - 1)) ? lane : source);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return static_cast<unsigned>(nibble::emulator::meet_warp(nibble::emulator::WarpOperation::kVote, mask, predicate != 0,
                                                           nibble::emulator::lane_of_thread()));
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

// ---- atomics: threads run one at a time
template <class T, class U>
T atomicAdd(T* p, U value) {
  const T before = *p;
  *p = before + static_cast<T>(value);
  return before;
}
template <class T, class U>
T atomicMax(T* p, U value) {
  const T before = *p;
  if (static_cast<T>(value) > before) *p = static_cast<T>(value);
  return before;
}
template <class T, class U>
T atomicMin(T* p, U value) {
  const T before = *p;
  if (static_cast<T>(value) < before) *p = static_cast<T>(value);
  return before;
}
template <class T, class U>
T atomicOr(T* p, U value) {
  const T before = *p;
  *p = before | static_cast<T>(value);
  return before;
}
template <class T, class U>
T atomicExch(T* p, U value) {
  const T before = *p;
  *p = static_cast<T>(value);
  return before;
}
template <class T, class U, class V>
T atomicCAS(T* p, U expected, V value) {
  const T before = *p;
  if (before == static_cast<T>(expected)) *p = static_cast<T>(value);
  return before;
}

// ---- loads and stores with cache hints
template <class T>
T __ldg(const T* p) { return *p; }
template <class T>
T __ldcs(const T* p) { return *p; }
template <class T>
T __ldcg(const T* p) { return *p; }
template <class T>
void __stcs(T* p, T value) { *p = value; }
template <class T>
void __stcg(T* p, T value) { *p = value; }

// ---- arithmetic with one rounding, which is all that g++ does (-ffp-contract=off)
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline float __double2float_rn(double a) { return static_cast<float>(a); }
inline float __int2float_rn(int a) { return static_cast<float>(a); }
inline float __uint2float_rn(unsigned a) { return static_cast<float>(a); }
inline float __ll2float_rn(long long a) { return static_cast<float>(a); }
inline double __ll2double_rn(long long a) { return static_cast<double>(a); }
inline int __float2int_rn(float a) { return static_cast<int>(std::lrintf(a)); }

// ---- bits
namespace nibble::emulator {
template <class To, class From>
To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "both have one size");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
}  // namespace nibble::emulator
inline unsigned __float_as_uint(float a) { return nibble::emulator::same_bits<unsigned>(a); }
inline int __float_as_int(float a) { return nibble::emulator::same_bits<int>(a); }
inline float __uint_as_float(unsigned a) { return nibble::emulator::same_bits<float>(a); }
inline float __int_as_float(int a) { return nibble::emulator::same_bits<float>(a); }
inline long long __double_as_longlong(double a) { return nibble::emulator::same_bits<long long>(a); }
inline double __longlong_as_double(long long a) { return nibble::emulator::same_bits<double>(a); }
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __clz(int a) { return a == 0 ? 32 : __builtin_clz(static_cast<unsigned>(a)); }
inline int __ffs(int a) { return __builtin_ffs(a); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t{a} * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

// ---- CUDA's global min and max
#define NIBBLE_MIN_MAX(type)                                     \
  inline type max(type a, type b) { return a < b ? b : a; }      \
  inline type min(type a, type b) { return b < a ? b : a; }
NIBBLE_MIN_MAX(int)
NIBBLE_MIN_MAX(unsigned)
NIBBLE_MIN_MAX(long)
NIBBLE_MIN_MAX(unsigned long)
NIBBLE_MIN_MAX(long long)
NIBBLE_MIN_MAX(unsigned long long)
#undef NIBBLE_MIN_MAX
inline float max(float a, float b) { return std::fmax(a, b); }
inline float min(float a, float b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
