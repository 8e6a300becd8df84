#include "io/adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/inside_folder.h"
#include "io/safetensors.h"
#include "io/tensor_check.h"
#include "io/weight_source.h"

namespace nibble::io {
namespace fs = std::filesystem;
namespace {

constexpr const char* kTensorFile = "adapter_model.safetensors";
constexpr std::string_view kPrefix = "base_model.model.";

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

DType file_dtype(const Tensor& tensor) {
  if (tensor.scalar_type() == at::kBFloat16) return DType::kBF16;
  if (tensor.scalar_type() == at::kFloat) return DType::kF32;
  throw std::logic_error("adapters are bf16 or fp32");
}

// "model.layers.0.self_attn.q_proj" and whether it is A, for a tensor's name; nullopt: no LoRA factor of a linear.
struct FactorName {
  std::string path;
  bool is_a = false;
};
std::optional<FactorName> parse_name(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::string rest = name.substr(kPrefix.size());
  // Adapters saved without PEFT's own function keep the adapter's name, "default".
  for (const std::string_view suffix : {".lora_A.weight", ".lora_B.weight", ".lora_A.default.weight", ".lora_B.default.weight"}) {
    if (rest.size() > suffix.size() && rest.ends_with(suffix)) {
      rest.resize(rest.size() - suffix.size());
      return FactorName{canonical_weight_name(rest), suffix[6] == 'A'};
    }
  }
  return std::nullopt;
}

Tensor copy_tensor(const SafetensorsFile& file, const SafetensorsEntry& entry, const std::vector<int64_t>& shape) {
  const std::string path = file.path().string();
  if (entry.shape != shape) {
    throw FormatError(fmt::format("tensor '{}' has shape {}, but this base and rank call for {}; is it an adapter of another model?",
                                  entry.name, shape_text(entry.shape), shape_text(shape)), path, entry.begin);
  }
  at::ScalarType dtype;
  switch (entry.dtype) {
    case DType::kF32: dtype = at::kFloat; break;
    case DType::kBF16: dtype = at::kBFloat16; break;
    case DType::kF16: dtype = at::kHalf; break;
    default:
      throw FormatError(fmt::format("tensor '{}' is {}; an adapter's factors are F32, BF16 or F16", entry.name,
                                    dtype_name(entry.dtype)), path, entry.begin);
  }
  Tensor copy = at::empty(entry.shape, at::TensorOptions().dtype(dtype));
  const auto bytes = file.bytes(entry);
  if (!bytes.empty()) std::memcpy(copy.mutable_data_ptr(), bytes.data(), bytes.size());
  expect_finite(copy, entry.name, {path, 0, 0, entry.begin});
  return copy;
}

// The linears that target_modules names; nullopt: a regular expression, of which the tensors themselves tell.
std::optional<std::set<std::string>> targeted_paths(const AdapterConfig& config, const nn::ModelConfig& model) {
  const bool all = config.target_is_pattern && config.target_modules.front() == "all-linear";
  if (config.target_is_pattern && !all) return std::nullopt;
  std::set<std::string> paths;
  for (int64_t l = 0; l < model.num_hidden_layers; ++l) {
    for (int p = 0; p < nn::kProjections; ++p) {
      const std::string path = nn::projection_path(l, static_cast<nn::Projection>(p));
      const bool named = std::any_of(config.target_modules.begin(), config.target_modules.end(), [&](const std::string& target) {
        return path == target || path.ends_with("." + target);
      });
      if (all || named) paths.insert(path);
    }
  }
  return paths;
}

}  // namespace

AdapterTensors adapter_tensors(const nn::Model& model) {
  AdapterTensors tensors;
  model.each_lora([&](const std::string& path, const nn::Lora& lora) {
    tensors.emplace(fmt::format("{}{}.lora_A.weight", kPrefix, path), lora.a.to(at::kCPU).contiguous());
    tensors.emplace(fmt::format("{}{}.lora_B.weight", kPrefix, path), lora.b.to(at::kCPU).contiguous());
  });
  return tensors;
}

void write_adapter(const fs::path& folder, const AdapterTensors& tensors, const AdapterConfig& config) {
  SafetensorsPlan plan;
  plan.metadata["format"] = "pt";
  for (const auto& [name, tensor] : tensors) plan.tensors.push_back({name, file_dtype(tensor), tensor.sizes().vec()});
  plan.sort();
  SafetensorsWriter writer(folder / kTensorFile, plan);
  for (const auto& planned : plan.tensors) writer.write(planned.name, bytes_of(tensors.at(planned.name)));
  writer.close();
  FileWriter text(folder / "adapter_config.json");
  text.write(render_adapter_config(config));
  text.close();
}

Adapter read_adapter(const fs::path& folder, const nn::ModelConfig& model) {
  Adapter adapter;
  adapter.config = read_adapter_config(folder);
  expect_inside(folder, folder / kTensorFile);
  const SafetensorsFile file(folder / kTensorFile);
  const std::string path_text = file.path().string();
  std::map<std::string, nn::LinearShape> linears;
  for (int64_t l = 0; l < model.num_hidden_layers; ++l) {
    for (int p = 0; p < nn::kProjections; ++p) {
      const auto projection = static_cast<nn::Projection>(p);
      linears.emplace(nn::projection_path(l, projection), nn::projection_shape(model, projection));
    }
  }
  for (const SafetensorsEntry& entry : file.entries()) {
    const auto name = parse_name(entry.name);
    const auto linear = name ? linears.find(name->path) : linears.end();
    if (linear == linears.end()) {
      throw FormatError(fmt::format("tensor '{}' is no LoRA factor of a linear of this base; nibble reads lora_A and lora_B of the "
                                    "layers' seven projections", entry.name), path_text, entry.begin);
    }
    const int64_t rank = adapter.config.rank_of(name->path);
    AdapterFactors& factors = adapter.factors[name->path];
    Tensor& factor = name->is_a ? factors.a : factors.b;
    if (factor.defined()) throw FormatError(fmt::format("tensor '{}' is there under two names", entry.name), path_text, entry.begin);
    factor = copy_tensor(file, entry, name->is_a ? std::vector<int64_t>{rank, linear->second.in}
                                                 : std::vector<int64_t>{linear->second.out, rank});
    factors.scale = adapter.config.scale_of(name->path);
  }
  const auto targeted = targeted_paths(adapter.config, model);
  for (const auto& [path, factors] : adapter.factors) {
    if (!factors.a.defined() || !factors.b.defined()) {
      throw FormatError(fmt::format("'{}' has only one of lora_A and lora_B; the file is incomplete, copy it again", path), path_text);
    }
    if (targeted && targeted->count(path) == 0) {
      throw FormatError(fmt::format("it holds factors of '{}', which adapter_config.json does not target", path), path_text);
    }
  }
  if (adapter.factors.empty()) throw FormatError("it holds no LoRA factors", path_text);
  if (targeted && targeted->size() != adapter.factors.size()) {
    for (const std::string& path : *targeted) {
      if (adapter.factors.count(path) == 0) {
        throw FormatError(fmt::format("adapter_config.json targets {} linears of this base, but only {} have factors; '{}' is the "
                                      "first without", targeted->size(), adapter.factors.size(), path), path_text);
      }
    }
  }
  return adapter;
}

void attach_adapter(nn::Model& model, const Adapter& adapter, double dropout) {
  size_t bound = 0;
  for (int64_t l = 0; l < static_cast<int64_t>(model.layers.size()); ++l) {
    for (int p = 0; p < nn::kProjections; ++p) {
      const auto projection = static_cast<nn::Projection>(p);
      nn::Linear& linear = model.layers[static_cast<size_t>(l)].projection(projection);
      linear.lora.reset();
      const auto found = adapter.factors.find(linear.path);
      if (found == adapter.factors.end()) continue;
      nn::set_lora(linear, found->second.a, found->second.b, found->second.scale, static_cast<float>(dropout),
                   nn::lora_number(l, projection), model.dtype);
      ++bound;
    }
  }
  if (bound == 0 || bound != adapter.factors.size()) {
    throw ConfigError(fmt::format("the adapter has factors of {} linears, of which the model has {}", adapter.factors.size(), bound));
  }
}

}  // namespace nibble::io
