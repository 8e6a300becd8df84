// A Hugging Face folder as a WeightSource.
#include "io/hf_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "core/inside_folder.h"
#include "core/mapping_guard.h"
#include "io/bnb.h"
#include "io/fingerprint.h"
#include "io/hf_config.h"
#include "quant/blockwise.h"

namespace nibble::io {
namespace fs = std::filesystem;
namespace {

constexpr std::array<const char*, 10> kTokenizerFiles{
    "tokenizer.json",   "tokenizer_config.json", "tokenizer.model",     "special_tokens_map.json", "added_tokens.json",
    "vocab.json",       "merges.txt",            "chat_template.jinja", "chat_template.json",      "generation_config.json"};

at::ScalarType scalar_type_of(const SafetensorsShards::Location& at) {
  switch (at.entry->dtype) {
    case DType::kF32: return at::kFloat;
    case DType::kBF16: return at::kBFloat16;
    case DType::kF16: return at::kHalf;
    case DType::kF64: case DType::kI64: case DType::kI32: case DType::kI16: case DType::kI8: case DType::kU8:
    case DType::kBool: case DType::kF8E4M3: case DType::kF8E5M2: break;
  }
  throw FormatError(fmt::format("weight '{}' is stored as {}; nibble reads BF16, F16 and F32 weights, and 4-bit ones of "
                                "bitsandbytes: convert the model, or take another copy of it", at.entry->name,
                                dtype_name(at.entry->dtype)), at.file->path().string(), at.entry->begin);
}

}  // namespace

std::string canonical_weight_name(const std::string& stored_name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kPrefixes{
      {{"model.language_model.", "model."}, {"language_model.model.", "model."}, {"language_model.lm_head.", "lm_head."}}};
  for (const auto& [stored, canonical] : kPrefixes) {
    if (stored_name.starts_with(stored)) return std::string(canonical) + stored_name.substr(stored.size());
  }
  return stored_name;
}

HfSource::HfSource(const fs::path& folder) : shards_(folder) {
  path_ = folder;
  const fs::path config_path = folder / "config.json";
  config_ = read_hf_config(config_path);
  config_text_ = read_text(config_path);
  const bool quantized = check_quantization_config(config_path);
  for (const std::string& stored : shards_.names()) {
    const std::string owner = bnb_owner(stored);
    if (!owner.empty() && is_bnb_weight(shards_, owner)) continue;
    // A table that old checkpoints store and that follows from the configuration.
    if (stored.ends_with("rotary_emb.inv_freq")) continue;
    if (!quantized && is_bnb_weight(shards_, stored)) {
      throw FormatError(fmt::format("weight '{}' is stored in 4 bits, but config.json has no quantization_config", stored),
                        folder.string());
    }
    std::string name = canonical_weight_name(stored);
    if (!stored_.emplace(name, stored).second) {
      throw FormatError(fmt::format("weight '{}' is there under two names", name), folder.string());
    }
    names_.push_back(std::move(name));
  }
}

const std::string& HfSource::stored(const std::string& name) const {
  const auto found = stored_.find(name);
  if (found == stored_.end()) {
    throw FormatError(fmt::format("it holds no weight '{}', which a {} model with this config.json has; download it again", name,
                                  nn::family_traits(config_.family).model_type), path_.string());
  }
  return found->second;
}

std::vector<int64_t> HfSource::shape(const std::string& name) const {
  if (is_packed(name)) return bnb_shape(shards_, stored(name));
  return shards_.find(stored(name))->entry->shape;
}

Tensor HfSource::read(const std::string& name) const {
  if (is_packed(name)) return quant::dequantize(read_packed(name), at::kBFloat16);
  const SafetensorsShards::Location& at = *shards_.find(stored(name));
  const at::ScalarType dtype = scalar_type_of(at);
  const auto bytes = at.file->bytes(*at.entry);
  const auto alignment = static_cast<uintptr_t>(dtype_bytes(at.entry->dtype));
  if (bytes.empty() || reinterpret_cast<uintptr_t>(bytes.data()) % alignment != 0) {
    Tensor copy = at::empty(at.entry->shape, at::TensorOptions().dtype(dtype));
    if (!bytes.empty()) std::memcpy(copy.mutable_data_ptr(), bytes.data(), bytes.size());
    return copy;
  }
  return at::from_blob(const_cast<std::byte*>(bytes.data()), at.entry->shape, at::TensorOptions().dtype(dtype));
}

bool HfSource::is_packed(const std::string& name) const { return is_bnb_weight(shards_, stored(name)); }
quant::QuantizedWeight HfSource::read_packed(const std::string& name) const { return read_bnb_weight(shards_, stored(name), BnbRead::kCopy); }
quant::QuantizedWeight HfSource::view_packed(const std::string& name) const { return read_bnb_weight(shards_, stored(name), BnbRead::kView); }

bool HfSource::holds(const void* address) const {
  const auto* p = static_cast<const std::byte*>(address);
  return std::any_of(shards_.files().begin(), shards_.files().end(), [p](const SafetensorsFile& file) {
    return p >= file.all_bytes().data() && p < file.all_bytes().data() + file.all_bytes().size();
  });
}

void HfSource::drop(const std::string& name) const {
  if (is_packed(name)) {
    drop_bnb_weight(shards_, stored(name));
  } else {
    const SafetensorsShards::Location& at = *shards_.find(stored(name));
    at.file->drop(*at.entry);
  }
}

Place HfSource::place(const std::string& name) const {
  const SafetensorsShards::Location& at = *shards_.find(stored(name));
  return {at.file->path().string(), 0, 0, at.entry->begin};
}

void HfSource::expect_unchanged() const {
  for (const SafetensorsFile& file : shards_.files()) nibble::expect_unchanged(file.all_bytes());
}

std::vector<fs::path> HfSource::tokenizer_files() const {
  std::vector<fs::path> files;
  std::error_code error;
  for (const char* name : kTokenizerFiles) {
    if (!fs::is_regular_file(path_ / name, error)) continue;
    expect_inside(path_, path_ / name);
    files.push_back(path_ / name);
  }
  return files;
}

std::string HfSource::fingerprint() const {
  Fingerprint fingerprint;
  fingerprint.add(config_text_);
  for (const SafetensorsFile& file : shards_.files()) {
    fingerprint.add_file(file.path().filename().string(), file.all_bytes(), file.header().size() + 8);
  }
  return fingerprint.text();
}

}  // namespace nibble::io
