// The seam between nn/attention_decode_cpu.cpp and its vector version. Not for other units.
#pragma once

#include "nn/attention_decode_cpu.h"

namespace nibble::nn {

// Whether heads of this width have vector kernels.
inline bool has_decode_kernel(int64_t width) { return width == 64 || width == 96 || width == 128 || width == 256; }

#if defined(__x86_64__)
// head.scores[j] = scale * q . k[j] for all keys; returns the largest. REQUIRES has_decode_kernel(head.width)
float decode_scores_avx512_bf16(const DecodeHead<uint16_t>& head);
// head.sums = the sum over all keys of scores[j] * v[j]. REQUIRES has_decode_kernel(head.width)
void decode_sums_avx512_bf16(const DecodeHead<uint16_t>& head);
#endif

}  // namespace nibble::nn
