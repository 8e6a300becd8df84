// NIBBLE_HOST_DEVICE marks a function that CUDA kernels may call as well: host and device code where nvcc compiles, plain
// C++ elsewhere. Such functions are C++17, which is what nvcc is given.
#pragma once

#if !defined(NIBBLE_HOST_DEVICE)
#if defined(__CUDACC__)
#define NIBBLE_HOST_DEVICE __host__ __device__
#else
#define NIBBLE_HOST_DEVICE
#endif
#endif
