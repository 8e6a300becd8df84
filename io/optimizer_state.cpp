#include "io/optimizer_state.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "core/error.h"
#include "io/safetensors.h"

namespace nibble::io {
namespace {

constexpr const char* kFormat = "nibble-adamw-1";
constexpr const char* kAdvice = "; resume from another checkpoint";

std::span<const std::byte> bytes_of(const Tensor& t) {
  return {static_cast<const std::byte*>(t.const_data_ptr()), static_cast<size_t>(t.nbytes())};
}

int64_t steps_of(const SafetensorsFile& file) {
  const auto& metadata = file.metadata();
  const auto format = metadata.find("format");
  if (format == metadata.end() || format->second != kFormat) {
    throw FormatError(fmt::format("not an optimizer state: metadata 'format' is not {}{}", kFormat, kAdvice),
                      file.path().string());
  }
  const auto text = metadata.find("steps");
  int64_t steps = -1;
  if (text != metadata.end()) {
    const char* end = text->second.data() + text->second.size();
    const auto parsed = std::from_chars(text->second.data(), end, steps);
    if (parsed.ec != std::errc() || parsed.ptr != end) steps = -1;
  }
  if (steps < 0) {
    throw FormatError(fmt::format("metadata 'steps' is not a number of updates{}", kAdvice), file.path().string());
  }
  return steps;
}

// The entry for a tensor of the optimizer, with its type and shape checked.
const SafetensorsEntry& entry_for(const SafetensorsFile& file, const std::string& name, const Tensor& state) {
  const SafetensorsEntry* entry = file.find(name);
  if (entry == nullptr) {
    throw FormatError(fmt::format("'{}' is missing; the checkpoint is of a run with other adapters (lora_target_modules)",
                                  name),
                      file.path().string());
  }
  if (entry->dtype != DType::kF32 || entry->shape != state.sizes().vec()) {
    throw FormatError(fmt::format("'{}' is {} {}, expected F32 {}; the checkpoint is of a run with other adapters (lora_r)",
                                  name, dtype_name(entry->dtype), shape_text(entry->shape), shape_text(state.sizes())),
                      file.path().string(), entry->begin);
  }
  return *entry;
}

}  // namespace

void save_optimizer(const optim::AdamW& adamw, const std::filesystem::path& path) {
  SafetensorsPlan plan;
  plan.metadata = {{"format", kFormat}, {"steps", std::to_string(adamw.steps())}};
  adamw.each_state([&](const std::string& name, const Tensor& state) {
    plan.tensors.push_back({name, DType::kF32, state.sizes().vec()});
  });
  SafetensorsWriter writer(path, std::move(plan));
  adamw.each_state([&](const std::string& name, const Tensor& state) { writer.write(name, bytes_of(state)); });
  writer.close();
}

void load_optimizer(optim::AdamW& adamw, const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  const int64_t steps = steps_of(file);
  size_t expected = 0;
  adamw.each_state([&](const std::string& name, const Tensor& state) {
    entry_for(file, name, state);
    ++expected;
  });
  if (file.entries().size() != expected) {
    throw FormatError(fmt::format("{} tensors where the run has {}; the checkpoint is of a run with other adapters "
                                  "(lora_target_modules)",
                                  file.entries().size(), expected),
                      path.string());
  }
  adamw.each_state([&](const std::string& name, const Tensor& state) {
    const SafetensorsEntry& entry = entry_for(file, name, state);
    if (entry.bytes > 0) std::memcpy(state.data_ptr(), file.bytes(entry).data(), static_cast<size_t>(entry.bytes));
    file.drop(entry);
  });
  adamw.restored(steps);
}

}  // namespace nibble::io
