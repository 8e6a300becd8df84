#include "io/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "core/disk_space.h"
#include "core/error.h"
#include "core/file.h"
#include "core/round_up.h"
#include "io/concurrent_weights.h"
#include "io/export_files.h"
#include "io/hf_config.h"
#include "io/load_model.h"
#include "io/safetensors.h"
#include "io/shards.h"
#include "io/tensor_check.h"
#include "quant/blockwise.h"

namespace nibble::io {
namespace fs = std::filesystem;
namespace {

struct PlannedWeight {
  std::string name;         // in nibble
  std::string stored_name;  // in the base's files and the new ones
  std::vector<int64_t> shape;
  int64_t bytes = 0;
};
using PlannedShard = std::vector<PlannedWeight>;

DType file_dtype(at::ScalarType dtype) { return dtype == at::kFloat ? DType::kF32 : DType::kBF16; }

std::vector<PlannedShard> plan_shards(const WeightSource& source, const MergeOptions& options) {
  std::vector<PlannedShard> shards;
  int64_t filled = 0;
  for (const std::string& name : source.names()) {
    // The head of a tied model is the embedding; a copy of it in the files counts for nothing.
    if (source.config().tie_word_embeddings && name == "lm_head.weight") continue;
    PlannedWeight weight{name, source.stored_name(name), source.shape(name), 0};
    weight.bytes = checked_bytes(weight.shape, file_dtype(options.dtype));
    if (weight.bytes < 0) throw FormatError(fmt::format("weight '{}' is larger than any file", name), source.path().string());
    if (shards.empty() || filled > options.max_shard_bytes - weight.bytes) {
      shards.emplace_back();
      filled = 0;
    }
    filled += weight.bytes;
    shards.back().push_back(std::move(weight));
  }
  return shards;
}

std::string shard_name(size_t number, size_t count) {
  return count == 1 ? kSingleShardName : fmt::format("model-{:05}-of-{:05}.safetensors", number + 1, count);
}

constexpr const char* kOtherDisk = "free some space, or name a folder on another disk";
constexpr int64_t kThreads = 4;       // more would wait for the disk with a weight in their hands
constexpr int64_t kWeightsAhead = 2;  // made, and waiting for those before them to be written
constexpr int64_t kPanelElements = 128 * 1024;  // of fp32 sums: half of a usual second-level cache

// The weight that an adapter is added to: dense, or in 4 bits as the run decoded it.
struct FrozenBase {
  Tensor dense;
  quant::QuantizedWeight packed;
  at::ScalarType decoded = at::kBFloat16;

  // Rows [first, first + count) in `dtype`; `own`: to be written to.
  Tensor rows(int64_t first, int64_t count, at::ScalarType dtype, bool own) const {
    if (dense.defined()) return dense.narrow(0, first, count).to(dtype, /*non_blocking=*/false, /*copy=*/own);
    const Tensor decoded_rows = at::empty({count, packed.in}, decoded);
    quant::dequantize_rows_into(packed, first, first + count, decoded_rows);
    return decoded_rows.to(dtype);
  }
};

class Merger {
 public:
  Merger(const WeightSource& source, const Adapter& adapter, const MergeOptions& options)
      : source_(source), adapter_(adapter), options_(options) {
    for (int64_t l = 0; l < source.config().num_hidden_layers; ++l) {
      for (int p = 0; p < nn::kProjections; ++p) linears_.insert(nn::projection_path(l, static_cast<nn::Projection>(p)));
    }
  }

  // The weight as it goes into the new folder, contiguous, in options.dtype.
  Tensor merged(const std::string& name) {  // by several threads at a time
    const std::string path = name.ends_with(".weight") ? name.substr(0, name.size() - 7) : name;
    Tensor weight = linears_.count(path) != 0 ? merged_linear(path, name) : source_.read(name).to(options_.dtype);
    weight = weight.contiguous();
    expect_finite(weight, name, source_.place(name));
    return weight;
  }
  int64_t changed() const { return changed_; }

 private:
  // As the run saw it, or as it is stored. Views of the file are possible.
  FrozenBase base_of(const std::string& path, const std::string& name) const {
    FrozenBase base;
    if (options_.base == MergeBase::kOriginal || !options_.quant) {
      base.dense = source_.read(name);
      return base;
    }
    const std::vector<int64_t> shape = source_.shape(name);
    const nn::LinearShape linear{shape.at(0), shape.at(1), false};
    LoadOptions load{options_.compute_dtype, options_.quant, {}};
    load.views = true;  // of weights that are stored in 4 bits
    base.packed = load_linear(source_, path, linear, load).packed;
    base.decoded = options_.compute_dtype;
    return base;
  }

  Tensor merged_linear(const std::string& path, const std::string& name) {
    const std::vector<int64_t> shape = source_.shape(name);
    if (shape.size() != 2) {
      throw FormatError(fmt::format("weight '{}' has shape {}, not [out, in]", name, shape_text(shape)), source_.path().string());
    }
    const FrozenBase base = base_of(path, name);
    const auto found = adapter_.factors.find(path);
    if (found == adapter_.factors.end()) return base.rows(0, shape[0], options_.dtype, /*own=*/false);
    const AdapterFactors& factors = found->second;
    if (shape[0] != factors.b.size(0) || shape[1] != factors.a.size(1)) {
      throw FormatError(fmt::format("weight '{}' has shape {}, which the adapter's factors do not fit", name, shape_text(shape)),
                        source_.path().string());
    }
    ++changed_;
    return base_plus_update(base, factors, shape);
  }

  // W + scale B A, a few rows at a time, so that the fp32 sums stay in the cache.
  Tensor base_plus_update(const FrozenBase& base, const AdapterFactors& factors, const std::vector<int64_t>& shape) const {
    const Tensor a = factors.a.to(at::kFloat).contiguous(), b = factors.b.to(at::kFloat).contiguous();
    Tensor out = at::empty(shape, options_.dtype);
    const int64_t step = std::max<int64_t>(1, kPanelElements / std::max<int64_t>(1, shape[1]));
    at::parallel_for(0, ceil_div(shape[0], step), 1, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t first = panel * step, rows = std::min(step, shape[0] - first);
        Tensor sum = base.rows(first, rows, at::kFloat, /*own=*/true);
        sum.addmm_(b.narrow(0, first, rows), a, 1, factors.scale);
        out.narrow(0, first, rows).copy_(sum);
      }
    });
    return out;
  }

  const WeightSource& source_;
  const Adapter& adapter_;
  const MergeOptions& options_;
  std::set<std::string> linears_;
  std::atomic<int64_t> changed_ = 0;
};

}  // namespace

void expect_replaceable(const fs::path& out, const fs::path& source) {
  std::error_code error;
  if (!fs::exists(out, error)) return;
  const Place place{out.string(), 0, 0, -1};
  if (!fs::is_directory(out, error)) throw ConfigError("it is a file; name another folder to export to", place);
  const fs::path target = fs::weakly_canonical(out, error), base = fs::weakly_canonical(source, error);
  for (fs::path inner = base; !inner.empty(); inner = inner.parent_path()) {
    if (inner == target) throw ConfigError("the model to export from lies there; name another folder", place);
    if (inner == inner.parent_path()) break;
  }
  if (fs::is_empty(out, error)) return;
  // The files of an export and nothing else, so that nobody's own file goes with the folder.
  bool model = false;
  for (const auto& entry : fs::directory_iterator(out, error)) {
    const std::string name = entry.path().filename().string();
    model = model || name == "config.json" || name == "adapter_config.json";
    if (!entry.is_regular_file(error) || !is_export_file(name)) {
      throw ConfigError(fmt::format("it holds '{}', which is no part of an export; name another folder, or remove it", name), place);
    }
  }
  if (!model) throw ConfigError("it is not empty and holds no earlier export; name another folder", place);
}

MergeResult merge_adapter(const WeightSource& source, const Adapter& adapter, const fs::path& out, const MergeOptions& options) {
  expect_replaceable(out, source.path());
  const std::vector<PlannedShard> shards = plan_shards(source, options);
  const auto total = static_cast<int64_t>(source.names().size());
  Merger merger(source, adapter, options);
  int64_t planned_bytes = 0;
  for (const PlannedShard& shard : shards) {
    for (const PlannedWeight& weight : shard) planned_bytes += weight.bytes;
  }
  expect_disk_space(out, planned_bytes, "the merged model", kOtherDisk);
  MergeResult result;
  result.shards = static_cast<int64_t>(shards.size());
  StagedFolder folder(out);
  // First, since a tokenizer that cannot be written is better found out before hours of weights.
  write_model_files(source, folder.path(), options.dtype == at::kFloat ? "float32" : "bfloat16", options.chat_template);
  std::vector<std::pair<std::string, std::string>> shard_of_tensor;
  for (size_t s = 0; s < shards.size(); ++s) {
    SafetensorsPlan plan;
    plan.metadata["format"] = "pt";
    for (const PlannedWeight& weight : shards[s]) {
      plan.tensors.push_back({weight.stored_name, file_dtype(options.dtype), weight.shape});
    }
    SafetensorsWriter writer(folder.path() / shard_name(s, shards.size()), std::move(plan));
    make_concurrently(static_cast<int64_t>(shards[s].size()), kThreads, kWeightsAhead, [&](int64_t i) -> std::function<void()> {
      const PlannedWeight& weight = shards[s][static_cast<size_t>(i)];
      return [&, merged = merger.merged(weight.name)] {
        writer.write(weight.stored_name, {static_cast<const std::byte*>(merged.const_data_ptr()), merged.nbytes()});
        source.drop(weight.name);
        shard_of_tensor.emplace_back(weight.stored_name, shard_name(s, shards.size()));
        result.bytes += weight.bytes;
        ++result.weights;
        if (options.progress) options.progress(result.weights, total);
      };
    });
    writer.close();
  }
  result.merged = merger.changed();
  if (result.merged != static_cast<int64_t>(adapter.factors.size())) {
    throw ConfigError(fmt::format("the adapter has factors of {} linears, of which the base has {}", adapter.factors.size(),
                                  result.merged));
  }
  if (shards.size() > 1) write_file(folder.path() / kShardIndexName, render_shard_index(shard_of_tensor, result.bytes));
  folder.commit();
  return result;
}

}  // namespace nibble::io
