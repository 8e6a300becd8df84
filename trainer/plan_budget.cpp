#include "trainer/plan_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <vector>

#include "core/memory_limit.h"
#include "core/round_up.h"
#include "gpu/runtime_table.h"
#include "io/hf_config.h"
#include "io/hub_cache.h"
#include "tensor/torch.h"
#include "trainer/memory_plan.h"
#include "trainer/plan_advice.h"

namespace nibble::trainer {
namespace fs = std::filesystem;
namespace {

// A share of a machine's memory is left to the system and to what the plan does not know.
constexpr double kUsableShare = 0.8;

// Memory a byte of file (measured): a tokenizer.json becomes tables of strings and merges; rows pass through in blocks, whose buffers
// stay with malloc.
constexpr int64_t kTokenizerBytes = 12, kRowBytes = 3, kMostRowBytes = int64_t{32} << 20;

int64_t size_of(const fs::path& path) {
  std::error_code missing;
  const auto bytes = fs::file_size(path, missing);
  return missing ? 0 : static_cast<int64_t>(bytes);
}

// A thread's stack (the system's usual limit of it), and what malloc maps for a thread of its own.
constexpr int64_t kStackBytes = int64_t{8} << 20, kThreadHeapBytes = int64_t{64} << 20;

// Of a model's folder or file, what is mapped for as long as it is open.
int64_t model_file_bytes(const fs::path& model) {
  std::error_code missing;
  if (!fs::is_directory(model, missing)) return size_of(model);
  int64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(model, missing)) {
    if (entry.path().extension() == ".safetensors" || entry.path().extension() == ".gguf") bytes += size_of(entry.path());
  }
  return bytes;
}

// Against limits of address space and data, what a run will map beyond what it touches: its threads' stacks and heaps, and, where
// the base is not open yet, its files.
int64_t mappings_to_come(const schema::RunConfig& config, LimitOn on, bool base_is_open) {
  const int64_t threads = at::get_num_threads() - 1;
  switch (on) {
    case LimitOn::kResident: return 0;
    case LimitOn::kData: return threads * kStackBytes;
    case LimitOn::kAddressSpace:
      return threads * (kStackBytes + kThreadHeapBytes) + (base_is_open ? 0 : model_file_bytes(io::find_model(config.model_name_or_path)));
  }
  return 0;
}

}  // namespace

Budget cpu_budget(const schema::RunConfig& config, bool base_is_open) {
  MemoryLimit limit = memory_limit();
  limit.bytes = std::max<int64_t>(0, limit.bytes - mappings_to_come(config, limit.on, base_is_open));
  if (config.max_memory.bytes > 0) {
    const int64_t bytes = std::min(config.max_memory.bytes, limit.bytes);
    return {bytes, "max_memory", bytes};
  }
  return {static_cast<int64_t>(kUsableShare * static_cast<double>(limit.bytes)), limit.source, limit.bytes};
}

Budget gpu_budget(const schema::RunConfig& config, const nn::Place& place) {
  int64_t free = 0, total = 0;
  place.queue.module->runtime->memory(&free, &total);
  // Whoever can ask has a context, which is not free any more and which the plan counts.
  const int64_t usable = std::min(free + kCudaContextBytes, total) - kCardReserveBytes;
  if (config.max_memory.bytes > 0 && config.max_memory.bytes < usable) return {config.max_memory.bytes, "max_memory", config.max_memory.bytes};
  return {usable, "this GPU", usable};
}

Budget card_budget(double gib) {
  const auto bytes = static_cast<int64_t>(gib * static_cast<double>(int64_t{1} << 30)) - kCardReserveBytes;
  return {bytes, fmt::format("a GPU of {:g} GB", gib), bytes};
}

std::optional<quant::QuantConfig> stored_quant(const io::WeightSource& source) {
  const std::string name = nn::projection_path(0, nn::Projection::kQ) + ".weight";
  if (!source.has(name) || !source.is_packed(name)) return std::nullopt;
  return source.read_packed(name).config;
}

BaseShape read_base_shape(const std::string& model_name_or_path) {
  const fs::path path = io::find_model(model_name_or_path);
  std::error_code missing;
  const bool weights = !fs::is_directory(path, missing) || fs::exists(path / "model.safetensors", missing) ||
                       fs::exists(path / "model.safetensors.index.json", missing) || !fs::exists(path / "config.json", missing);
  if (!weights) return {io::read_hf_config(path / "config.json"), std::nullopt};
  const auto source = io::open_weight_source(model_name_or_path);
  return {source->config(), stored_quant(*source)};
}

int64_t expected_process_bytes(const schema::RunConfig& config) {
  int64_t bytes = resident_bytes();
  std::error_code missing;
  const fs::path model(config.model_name_or_path);
  bytes += kTokenizerBytes * (size_of(model / "tokenizer.json") + size_of(model / "tokenizer.model"));
  int64_t row_bytes = 0;
  for (const auto* files : {&config.train_file, &config.validation_file}) {
    for (const std::string& file : *files) row_bytes += kRowBytes * size_of(file);
  }
  return bytes + std::min(row_bytes, kMostRowBytes);
}

int64_t looked_up_bytes(const data::Dataset& train, const data::Dataset& validation, int64_t row_bytes) {
  std::vector<bool> windows;
  for (const data::Dataset* rows : {&train, &validation}) {
    const std::span<const uint64_t> used = rows->used_ids();
    for (size_t id = 0; id < 64 * used.size(); ++id) {
      if ((used[id / 64] >> (id % 64) & 1) == 0) continue;
      const int64_t begin = static_cast<int64_t>(id) * row_bytes;
      const auto first = static_cast<size_t>(begin / kFaultAroundBytes), last = static_cast<size_t>((begin + row_bytes - 1) / kFaultAroundBytes);
      if (last >= windows.size()) windows.resize(2 * last + 1);
      for (size_t w = first; w <= last; ++w) windows[w] = true;
    }
  }
  return std::count(windows.begin(), windows.end(), true) * kFaultAroundBytes;
}

int64_t expected_looked_up_bytes(const schema::RunConfig& config, int64_t row_bytes) {
  // The shortest entry of a tokenizer.json is "a":1, and of a tokenizer.model some bytes more.
  constexpr int64_t kEntryBytes = 6;
  const fs::path model(config.model_name_or_path);
  const int64_t tokenizer = std::max(size_of(model / "tokenizer.json"), size_of(model / "tokenizer.model"));
  int64_t bytes = tokenizer > 0 ? round_up(tokenizer / kEntryBytes * row_bytes, kFaultAroundBytes) : std::numeric_limits<int64_t>::max();
  if (config.max_steps > 0) {
    const int64_t rows = config.max_steps * config.per_device_train_batch_size * config.gradient_accumulation_steps;
    bytes = std::min(bytes, rows * config.max_length * std::max(kFaultAroundBytes, row_bytes));
  }
  return bytes;
}

}  // namespace nibble::trainer
