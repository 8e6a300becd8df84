// Tiled flash attention of one document in bf16 on AMX, with the types, packing and numerics of attention_avx512_cpu.h. Scores
// are made in blocks of 32 x 32, four tiles; blocks that the causal mask or the window hides are skipped. Widths are multiples
// of 32. Who calls these has asked amx_bf16_usable() (core/amx.h).
#pragma once

#include "nn/attention_avx512_cpu.h"

namespace nibble::nn {

inline constexpr int64_t kAmxForwardRows = 64;
int64_t forward_scratch_bytes_amx(int64_t width);
void attention_forward_amx_cpu(const HeadRows& q, const uint32_t* packed_k, const uint32_t* packed_v, const TileSettings& settings,
                               int64_t first, const HeadRows& out, float* lse, void* scratch);
int64_t backward_scratch_bytes_amx(int64_t tokens, int64_t width);
void attention_backward_amx_cpu(const BackwardHead& head, const TileSettings& settings, void* scratch);

inline constexpr AttentionKernels kAmxAttention{kAmxForwardRows, forward_scratch_bytes_amx, attention_forward_amx_cpu,
                                                backward_scratch_bytes_amx, attention_backward_amx_cpu};

}  // namespace nibble::nn
