// How far a quantized weight is from the original, by six measures, for five schemes.
//
//   mse             mean (w - r)^2                   max_abs_error   max |w - r|
//   snr_db          10 log10(mean w^2 / mse)         psnr_db         20 log10(max |w| / sqrt(mse))
//   cosine          w.r / (|w| |r|)
//   kl              KL(original || reconstruction) in nats over histograms of 256 equal bins from min(w) to max(w),
//                   reconstruction clipped into that range, 1 added to every count
// All sums are fp64 over fixed pieces, so that they do not depend on the number of threads.
#pragma once

#include <array>

#include "quant/layout.h"

namespace nibble::quant {

struct ErrorMetrics {
  double mse = 0.0;
  double max_abs_error = 0.0;
  double snr_db = 0.0;   // infinite for an exact reconstruction
  double psnr_db = 0.0;  // likewise
  double cosine = 1.0;   // 1 where both are zero, 0 where one is
  double kl = 0.0;
};

// What a weight could be stored as. The integers are symmetric: scale absmax/127 or absmax/7 a block, codes rounded half
// to even, in fp64.
enum class Scheme : uint8_t { kInt8, kInt4, kFp4, kNf4, kNf4DoubleQuant };
inline constexpr std::array<Scheme, 5> kSchemes = {Scheme::kInt8, Scheme::kInt4, Scheme::kFp4, Scheme::kNf4,
                                                   Scheme::kNf4DoubleQuant};
const char* scheme_name(Scheme scheme);  // "nf4_dq"

// SHAPES both the same, any, not empty; any floating dtype; CPU. THROWS std::invalid_argument where they are not, or where a
// value is not finite (naming its flat index).
ErrorMetrics error_metrics(const Tensor& original, const Tensor& reconstruction);

// The weight as the scheme keeps it. SHAPES weight [Out, In] fp32, bf16 or fp16 -> [Out, In], fp64 for the integers, else
// fp32. THROWS as quantize().
Tensor reconstruct(const Tensor& weight, Scheme scheme, int64_t blocksize);

}  // namespace nibble::quant
