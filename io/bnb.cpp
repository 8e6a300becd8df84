#include "io/bnb.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <string_view>

#include "core/error.h"
#include "schema/json_text.h"
#include "quant/blockwise.h"
#include "quant/codebook.h"

namespace nibble::io {
namespace {

using Json = nlohmann::json;
using Location = SafetensorsShards::Location;

constexpr const char* kNf4State = ".quant_state.bitsandbytes__nf4";
constexpr const char* kFp4State = ".quant_state.bitsandbytes__fp4";
constexpr std::array<const char*, 6> kPartSuffixes{".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", kNf4State, kFp4State};
constexpr int64_t kMaxStateBytes = 64 << 10;

struct State {
  quant::QuantConfig config;
  int64_t out = 0, in = 0;
  float nested_offset = 0;
};

[[noreturn]] void fail(const Location& at, const std::string& message) {
  throw FormatError(fmt::format("tensor '{}': {}", at.entry->name, message), at.file->path().string(), at.entry->begin);
}

const Location& part(const SafetensorsShards& shards, const std::string& name, const Location& weight) {
  const Location* found = shards.find(name);
  if (found == nullptr) fail(weight, fmt::format("its part '{}' is missing; download the model again", name));
  return *found;
}

int64_t member_int(const Json& json, const char* key, const Location& at) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned() || found->get<uint64_t>() > (uint64_t{1} << 40)) {
    fail(at, fmt::format("'{}' is missing or no size", key));
  }
  return found->get<int64_t>();
}

State read_state(const SafetensorsShards& shards, const std::string& name, const Location& weight) {
  const bool is_fp4 = shards.find(name + kFp4State) != nullptr;
  const Location& at = part(shards, name + (is_fp4 ? kFp4State : kNf4State), weight);
  if (at.entry->dtype != DType::kU8 || at.entry->bytes > kMaxStateBytes) fail(at, "it must be a short uint8 tensor of JSON text");
  const auto bytes = at.file->bytes(*at.entry);
  const Json json = schema::parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, at.file->path(), at.entry->begin);
  if (!json.is_object()) fail(at, "it must hold one JSON object");
  State state;
  state.config.type = is_fp4 ? QuantType::kFp4 : QuantType::kNf4;
  if (json.value("quant_type", Json()) != (is_fp4 ? "fp4" : "nf4")) fail(at, "its quant_type contradicts its name");
  state.config.blocksize = member_int(json, "blocksize", at);
  if (state.config.blocksize < 32 || state.config.blocksize > 4096 || !std::has_single_bit(static_cast<uint64_t>(state.config.blocksize))) {
    fail(at, fmt::format("blocksize {} is not a power of two from 32 to 4096", state.config.blocksize));
  }
  const auto shape = json.find("shape");
  if (shape == json.end() || !shape->is_array() || shape->size() != 2) fail(at, "its 'shape' must be [out, in]");
  std::array<int64_t, 2> sizes{};
  for (size_t i = 0; i < 2; ++i) {
    const Json& n = (*shape)[i];
    if (!n.is_number_unsigned() || n.get<uint64_t>() < 1 || n.get<uint64_t>() > (uint64_t{1} << 31)) fail(at, fmt::format("it has the size {} in its shape", schema::brief(n)));
    sizes[i] = n.get<int64_t>();
  }
  state.out = sizes[0];
  state.in = sizes[1];
  state.config.double_quant = json.contains("nested_blocksize");
  if (state.config.double_quant) {
    if (member_int(json, "nested_blocksize", at) != quant::kNestedBlocksize) {
      fail(at, fmt::format("nested_blocksize is {}, expected {}", schema::brief(json["nested_blocksize"]), quant::kNestedBlocksize));
    }
    if (json.value("nested_dtype", Json("float32")) != "float32") fail(at, "nested_dtype must be float32");
    const Json offset = json.value("nested_offset", Json());
    if (!offset.is_number() || !std::isfinite(offset.get<float>())) fail(at, "'nested_offset' is missing or no finite number");
    state.nested_offset = offset.get<float>();
  }
  return state;
}

// A part that must have this dtype and number of elements.
Tensor read_part(const Location& at, DType dtype, int64_t numel, BnbRead read) {
  if (at.entry->dtype != dtype || checked_numel(at.entry->shape) != numel) {
    fail(at, fmt::format("it is {} of shape {}, expected {} of {} elements", dtype_name(at.entry->dtype), shape_text(at.entry->shape),
                         dtype_name(dtype), numel));
  }
  const at::ScalarType type = dtype == DType::kU8 ? at::kByte : at::kFloat;
  const std::byte* bytes = at.file->bytes(*at.entry).data();
  if (read == BnbRead::kView && reinterpret_cast<uintptr_t>(bytes) % static_cast<uintptr_t>(dtype_bytes(dtype)) == 0) {
    return at::from_blob(const_cast<std::byte*>(bytes), {numel}, type);
  }
  Tensor copy = at::empty({numel}, type);
  if (numel > 0) std::memcpy(copy.mutable_data_ptr(), bytes, static_cast<size_t>(at.entry->bytes));
  return copy;
}

template <size_t N>
void expect_table(const Location& at, const std::array<float, N>& expected) {
  const Tensor found = read_part(at, DType::kF32, N, BnbRead::kCopy);
  // Bytes: FP4's table has a negative zero.
  if (std::memcmp(found.const_data_ptr<float>(), expected.data(), sizeof expected) != 0) {
    fail(at, "its values are not bitsandbytes' table, so its codes would mean other weights");
  }
}

const Location& weight_location(const SafetensorsShards& shards, const std::string& name) {
  const Location* weight = shards.find(name);
  if (weight == nullptr) throw std::logic_error(fmt::format("no tensor '{}'", name));
  return *weight;
}

}  // namespace

bool check_quantization_config(const std::filesystem::path& config_json) {
  const Json json = schema::read_json_object(config_json);
  const auto found = json.find("quantization_config");
  if (found == json.end() || found->is_null()) return false;
  const auto refuse = [&](const std::string& what) {
    throw ConfigError(what + "; use the unquantized model, nibble quantizes it itself", Place{config_json.string(), 0, 0, -1});
  };
  if (!found->is_object()) throw FormatError("'quantization_config' must be an object", config_json.string());
  const auto flag = [&](const char* key) { return found->value(key, Json(false)) == true; };
  const bool four_bits = flag("load_in_4bit") || flag("_load_in_4bit");
  const Json method = found->value("quant_method", Json(four_bits ? "bitsandbytes" : ""));
  if (method != "bitsandbytes") refuse(fmt::format("the weights are quantized with {}, which nibble does not read", schema::brief(method)));
  if (!four_bits) refuse("the weights are quantized to 8 bits by bitsandbytes, nibble reads its 4-bit weights only");
  const Json storage = found->value("bnb_4bit_quant_storage", Json("uint8"));
  if (!storage.is_null() && storage != "uint8") {
    refuse(fmt::format("the 4-bit weights are stored as {} (bnb_4bit_quant_storage), nibble reads uint8", schema::brief(storage)));
  }
  return true;
}

std::string bnb_owner(const std::string& stored_name) {
  for (const char* suffix : kPartSuffixes) {
    if (stored_name.ends_with(suffix)) return stored_name.substr(0, stored_name.size() - std::string_view(suffix).size());
  }
  return "";
}

bool is_bnb_weight(const SafetensorsShards& shards, const std::string& stored_name) {
  return shards.find(stored_name + kNf4State) != nullptr || shards.find(stored_name + kFp4State) != nullptr;
}

std::vector<int64_t> bnb_shape(const SafetensorsShards& shards, const std::string& stored_name) {
  const State state = read_state(shards, stored_name, weight_location(shards, stored_name));
  return {state.out, state.in};
}

quant::QuantizedWeight read_bnb_weight(const SafetensorsShards& shards, const std::string& stored_name, BnbRead read) {
  const Location& weight = weight_location(shards, stored_name);
  const State state = read_state(shards, stored_name, weight);
  quant::QuantizedWeight q;
  q.config = state.config;
  q.out = state.out;
  q.in = state.in;
  q.codes = read_part(weight, DType::kU8, (q.numel() + 1) / 2, read);
  const Location& codebook = part(shards, stored_name + ".quant_map", weight);
  switch (q.config.type) {
    case QuantType::kNf4: expect_table(codebook, quant::kNf4Codebook); break;
    case QuantType::kFp4: expect_table(codebook, quant::kFp4Codebook); break;
  }
  const Location& absmax = part(shards, stored_name + ".absmax", weight);
  if (q.config.double_quant) {
    q.absmax_codes = read_part(absmax, DType::kU8, q.blocks(), read);
    q.nested_absmax = read_part(part(shards, stored_name + ".nested_absmax", weight), DType::kF32,
                                (q.blocks() + quant::kNestedBlocksize - 1) / quant::kNestedBlocksize, read);
    expect_table(part(shards, stored_name + ".nested_quant_map", weight), quant::kDynamicMapSigned);
    q.nested_offset = state.nested_offset;
  } else {
    q.absmax = read_part(absmax, DType::kF32, q.blocks(), read);
  }
  try {
    quant::validate(q);
  } catch (const std::invalid_argument& error) {
    fail(weight, fmt::format("{}; download the model again", error.what()));
  }
  return q;
}

void drop_bnb_weight(const SafetensorsShards& shards, const std::string& stored_name) {
  for (const char* suffix : kPartSuffixes) {
    if (const Location* at = shards.find(stored_name + suffix)) at->file->drop(*at->entry);
  }
  const Location& weight = weight_location(shards, stored_name);
  weight.file->drop(*weight.entry);
}

}  // namespace nibble::io
