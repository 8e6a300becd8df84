#include "trainer/compare_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "core/bf16.h"
#include "core/file.h"
#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "trainer/json_fields.h"
#include "trainer/run_state.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using Different = std::optional<RunDifference>;

// "[3, 17]" of an element of a tensor of this shape.
std::string index_text(int64_t element, std::vector<int64_t> shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t i = shape.size(); i-- > 0;) {
    index[i] = element % shape[i];
    element /= shape[i];
  }
  return io::shape_text(index);
}

template <class T>
T read_as(std::span<const std::byte> bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

// With the bits, since two values may print alike.
std::string value_text(DType dtype, std::span<const std::byte> bytes) {
  std::string bits;
  for (size_t i = bytes.size(); i-- > 0;) bits += fmt::format("{:02x}", static_cast<unsigned>(bytes[i]));
  if (dtype == DType::kF32) return fmt::format("{} (0x{})", read_as<float>(bytes), bits);
  if (dtype == DType::kBF16) return fmt::format("{} (0x{})", bf16_to_float(read_as<uint16_t>(bytes)), bits);
  if (dtype == DType::kU8) return fmt::format("{}", static_cast<unsigned>(bytes[0]));
  return "0x" + bits;
}

std::string form_text(const io::SafetensorsEntry& entry) { return fmt::format("{} {}", dtype_name(entry.dtype), io::shape_text(entry.shape)); }

Different compare_tensor(const io::SafetensorsFile& a, const io::SafetensorsFile& b, const io::SafetensorsEntry& entry, const std::string& place) {
  const io::SafetensorsEntry* other = b.find(entry.name);
  if (other == nullptr) return RunDifference{place, form_text(entry), "not there"};
  if (entry.dtype != other->dtype || entry.shape != other->shape) return RunDifference{place, form_text(entry), form_text(*other)};
  const auto x = a.bytes(entry), y = b.bytes(*other);
  const auto differs = std::mismatch(x.begin(), x.end(), y.begin()).first;
  if (differs == x.end()) return std::nullopt;
  const int64_t width = dtype_bytes(entry.dtype), element = (differs - x.begin()) / width;
  const auto at = static_cast<size_t>(element * width), count = static_cast<size_t>(width);
  return RunDifference{fmt::format("{} {}", place, index_text(element, entry.shape)), value_text(entry.dtype, x.subspan(at, count)),
                       value_text(entry.dtype, y.subspan(at, count))};
}

Different compare_tensors(const fs::path& first, const fs::path& second, RunComparison& out) {
  const io::SafetensorsFile a(first), b(second);
  const std::string name = first.filename().string();
  for (const io::SafetensorsEntry& entry : a.entries()) {
    if (Different found = compare_tensor(a, b, entry, fmt::format("{}: {}", name, entry.name))) return found;
    ++out.tensors;
    out.values += entry.bytes / dtype_bytes(entry.dtype);
    a.drop(entry);
    b.drop(b.at(entry.name));
  }
  for (const io::SafetensorsEntry& entry : b.entries()) {
    if (a.find(entry.name) == nullptr) return RunDifference{fmt::format("{}: {}", name, entry.name), "not there", form_text(entry)};
  }
  // Names, types and shapes are the same by now: what is left of the headers is the metadata.
  if (a.metadata() != b.metadata()) return RunDifference{name + ": metadata", std::string(a.header()), std::string(b.header())};
  return std::nullopt;
}

// Every field of both, by its JSON pointer.
Different compare_json(const std::string& place, const OrderedJson& first, const OrderedJson& second, int64_t* fields) {
  const OrderedJson a = first.flatten(), b = second.flatten();
  for (const auto& [key, value] : a.items()) {
    const auto other = b.find(key);
    if (other == b.end()) return RunDifference{place + key, value.dump(), "not there"};
    if (value != *other) return RunDifference{place + key, value.dump(), other->dump()};
    if (fields != nullptr) ++*fields;
  }
  for (const auto& [key, value] : b.items()) {
    if (!a.contains(key)) return RunDifference{place + key, "not there", value.dump()};
  }
  return std::nullopt;
}

OrderedJson exact_row(OrderedJson row) {
  for (const std::string& name : measured_metrics()) row.erase(name);
  return row;
}

OrderedJson exact_state(const fs::path& checkpoint) {
  const fs::path path = checkpoint / io::kTrainerStateFile;
  OrderedJson state = to_json_object(parse_run_state(read_text(path), path.string()));
  state.erase("memory_choices");
  for (OrderedJson& row : state.at("log_history")) row = exact_row(row);
  if (state.contains("unfinished_row")) state["unfinished_row"] = exact_row(state["unfinished_row"]);
  return state;
}

std::vector<OrderedJson> exact_rows(const fs::path& run) {
  const fs::path path = run / "metrics.jsonl";
  std::istringstream text(read_text(path));
  std::vector<OrderedJson> rows;
  for (std::string line; std::getline(text, line);) rows.push_back(exact_row(to_json_object(parse_metrics_line(line, path.string()))));
  return rows;
}

Different compare_metrics(const fs::path& first, const fs::path& second, RunComparison& out) {
  const auto a = exact_rows(first), b = exact_rows(second);
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (Different found = compare_json(fmt::format("metrics.jsonl:{}: ", i + 1), a[i], b[i], nullptr)) return found;
    ++out.metrics_rows;
  }
  if (a.size() != b.size()) return RunDifference{"metrics.jsonl", fmt::format("{} rows", a.size()), fmt::format("{} rows", b.size())};
  return std::nullopt;
}

}  // namespace

RunComparison compare_runs(const fs::path& first, const fs::path& second, int64_t step) {
  const std::string name = io::checkpoint_name(step);
  const fs::path a = first / name, b = second / name;
  RunComparison out;
  for (const char* file : {"adapter_model.safetensors", io::kOptimizerFile}) {
    if ((out.difference = compare_tensors(a / file, b / file, out))) return out;
  }
  const std::string config_a = read_text(a / "adapter_config.json"), config_b = read_text(b / "adapter_config.json");
  if (config_a != config_b) {
    out.difference = RunDifference{"adapter_config.json", config_a, config_b};
    return out;
  }
  if ((out.difference = compare_json(std::string(io::kTrainerStateFile) + ": ", exact_state(a), exact_state(b), &out.state_fields))) return out;
  out.difference = compare_metrics(first, second, out);
  return out;
}

}  // namespace nibble::trainer
