// Loading: from a WeightSource to a frozen nn::Model.
//
// Weight by weight: map, check, convert or quantize, drop; on a CPU each thread has a weight of its own. The peak of host memory is
// the loaded model and about two weights: what is only mapped does not count.
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
  bool quantize_head = false;               // the head in 4 bits too, as `quant` says; a tied embedding stays dense beside it
  bool views = false;                       // what the source's files hold as it is wanted is not copied on the host: views of
                                            // the mapped files, which the source must outlive
  bool linears_on_host = false;             // the linears of the layers stay on the CPU, for a base that is streamed to `device`
  bool embedding_on_host = false;           // so does the embedding, where it is not the head as well
};

inline constexpr const char* kEmbeddingName = "model.embed_tokens.weight";
inline constexpr const char* kHeadName = "lm_head.weight";

// Reads every weight that the configuration calls for. Embedding, norms, head and biases are dense in `dtype`.
// THROWS FormatError for a weight that is missing, of another shape, not finite, or that the configuration does not
// account for; ConfigError for a bad block size.
nn::Model load_model(const WeightSource& source, const LoadOptions& options);

// The linear of this path, as it is trained on: dense in `dtype`, or its 4-bit form. SHAPES [Out, In]. THROWS FormatError
nn::FrozenWeight load_linear(const WeightSource& source, const std::string& path, const nn::LinearShape& shape,
                             const LoadOptions& options);

// A weight in the compute dtype. THROWS FormatError
Tensor load_dense(const WeightSource& source, const std::string& name, const std::vector<int64_t>& shape, const LoadOptions& options);

// The output head, dense or in 4 bits; tied and dense, it is an embedding of its own. THROWS FormatError
nn::FrozenWeight load_head(const WeightSource& source, const LoadOptions& options);

}  // namespace nibble::io
