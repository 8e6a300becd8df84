// Merging an adapter into its base: a Hugging Face folder that needs neither nibble nor PEFT.
//
// W' = W + scale * B A in fp32, rounded once to bf16, weight by weight and shard by shard. Up to four threads make a
// weight each while another is written: with two cores the peak of host memory is about five weights, or a layer. The folder
// appears whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "io/adapter.h"
#include "io/weight_source.h"
#include "quant/layout.h"

namespace nibble::io {

// Which base weights the adapter is added to. It was trained on the dequantized ones, so they fit it best; the original
// ones lose no precision of the base. Without quantization in training the two are the same.
enum class MergeBase : uint8_t { kDequantized, kOriginal };

struct MergeOptions {
  MergeBase base = MergeBase::kDequantized;
  std::optional<quant::QuantConfig> quant;        // of the run; nullopt: it was trained on the dense base
  at::ScalarType compute_dtype = at::kBFloat16;   // of the run: what its 4-bit weights were decoded to
  at::ScalarType dtype = at::kBFloat16;           // of the folder: bf16 or fp32
  int64_t max_shard_bytes = int64_t{5} << 30;     // a larger weight gets a shard of its own
  std::string chat_template;                      // Jinja text that the run used instead of the base's; "": the base's
  std::function<void(int64_t done, int64_t total)> progress;  // weights
};

struct MergeResult {
  int64_t bytes = 0;     // of the weights
  int64_t weights = 0;
  int64_t merged = 0;    // weights that the adapter changed
  int64_t shards = 0;
};

// Writes `out`. An earlier export or an empty folder of that name is replaced; anything else is left alone.
// THROWS ConfigError where `out` holds other things or is the base itself; FormatError for weights that are damaged or not
// finite after merging; IoError, and then nothing of the new folder is left.
MergeResult merge_adapter(const WeightSource& source, const Adapter& adapter, const std::filesystem::path& out,
                          const MergeOptions& options);

// Whether export may replace `out`: it is not there, empty, or holds an earlier export (a model or adapter folder) that is
// not `source`. THROWS ConfigError otherwise.
void expect_replaceable(const std::filesystem::path& out, const std::filesystem::path& source);

}  // namespace nibble::io
