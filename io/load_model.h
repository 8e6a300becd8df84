// Loading: from a WeightSource to a frozen nn::Model.
//
// Weight by weight: map, check, convert or quantize, drop. The peak of host memory is the loaded model and about two
// weights.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "io/weight_source.h"
#include "nn/model.h"
#include "quant/layout.h"

namespace nibble::io {

struct LoadOptions {
  at::ScalarType dtype = at::kBFloat16;     // compute dtype: bf16 or fp32
  std::optional<quant::QuantConfig> quant;  // of the linears; nullopt: keep them dense. A base that is stored in 4 bits
                                            // keeps its own configuration, or is decoded where this is nullopt
  std::function<void(int64_t done, int64_t total)> progress;  // weights
  at::Device device = at::kCPU;             // where the weights end up; all work on them is done on the CPU
};

// Reads every weight that the configuration calls for. Embedding, norms, head and biases are dense in `dtype`.
// THROWS FormatError for a weight that is missing, of another shape, not finite, or that the configuration does not
// account for; ConfigError for a bad block size.
nn::Model load_model(const WeightSource& source, const LoadOptions& options);

// The linear of this path, as it is trained on: dense in `dtype`, or its 4-bit form. SHAPES [Out, In]. THROWS FormatError
nn::FrozenWeight load_linear(const WeightSource& source, const std::string& path, const nn::LinearShape& shape,
                             const LoadOptions& options);

}  // namespace nibble::io
