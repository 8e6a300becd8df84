// Whether this machine runs the kernels on AVX512_BF16: attention's and those of LoRA's products (nn/avx512_tile.h).
#pragma once

namespace nibble::nn {

inline bool avx512_bf16_supported() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace nibble::nn
