#include "io/optimizer_state.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "core/error.h"
#include "io/safetensors.h"
#include "schema/enum_names.h"

namespace nibble::io {
namespace {

constexpr const char* kAdvice = "; resume from another checkpoint";

std::string format_of(const optim::Optimizer& optimizer) {
  return fmt::format("nibble-{}-1", schema::enum_name(optimizer.config().optim));
}

DType dtype_of(const optim::StateInfo& info) { return info.is_codes ? DType::kU8 : DType::kF32; }

std::span<const std::byte> bytes_of(const Tensor& t) {
  return {static_cast<const std::byte*>(t.const_data_ptr()), static_cast<size_t>(t.nbytes())};
}

SafetensorsPlan plan_of(const optim::Optimizer& optimizer, int64_t steps) {
  SafetensorsPlan plan;
  plan.metadata = {{"format", format_of(optimizer)}, {"steps", std::to_string(steps)}};
  for (const optim::StateInfo& info : optimizer.state_info()) plan.tensors.push_back({info.name, dtype_of(info), info.shape});
  return plan;
}

int64_t steps_of(const SafetensorsFile& file, const std::string& expected) {
  const auto& metadata = file.metadata();
  const auto format = metadata.find("format");
  if (format == metadata.end() || format->second != expected) {
    const bool ours = format != metadata.end() && format->second.starts_with("nibble-");
    throw FormatError(ours ? fmt::format("the state of another optimizer: {}, but the run's is {}; set optim to the one that "
                                         "the checkpoint was made with",
                                         format->second, expected)
                           : fmt::format("not an optimizer state: metadata 'format' is not {}{}", expected, kAdvice),
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

// The file has this tensor of the optimizer, in its type and shape.
void check_entry(const SafetensorsFile& file, const optim::StateInfo& info) {
  const SafetensorsEntry* entry = file.find(info.name);
  if (entry == nullptr) {
    throw FormatError(fmt::format("'{}' is missing; the checkpoint is of a run with other adapters (lora_target_modules)",
                                  info.name),
                      file.path().string());
  }
  if (entry->dtype != dtype_of(info) || entry->shape != info.shape) {
    throw FormatError(fmt::format("'{}' is {} {}, expected {} {}; the checkpoint is of a run with other adapters (lora_r)",
                                  info.name, dtype_name(entry->dtype), shape_text(entry->shape), dtype_name(dtype_of(info)),
                                  shape_text(info.shape)),
                      file.path().string(), entry->begin);
  }
}

}  // namespace

void save_optimizer(const optim::Optimizer& optimizer, const std::filesystem::path& path) {
  SafetensorsWriter writer(path, plan_of(optimizer, optimizer.steps()));
  optimizer.each_state([&](const std::string& name, const Tensor& state) { writer.write(name, bytes_of(state)); });
  writer.close();
}

void save_optimizer_copy(const optim::Optimizer& optimizer, int64_t steps, const std::byte* copy, const std::filesystem::path& path) {
  SafetensorsWriter writer(path, plan_of(optimizer, steps));
  optimizer.each_state_of(copy, [&](const std::string& name, const Tensor& state) { writer.write(name, bytes_of(state)); });
  writer.close();
}

void load_optimizer(optim::Optimizer& optimizer, const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  const int64_t steps = steps_of(file, format_of(optimizer));
  const std::vector<optim::StateInfo> states = optimizer.state_info();
  for (const optim::StateInfo& info : states) check_entry(file, info);
  if (file.entries().size() != states.size()) {
    throw FormatError(fmt::format("{} tensors where the run has {}; the checkpoint is of a run with other adapters "
                                  "(lora_target_modules)",
                                  file.entries().size(), states.size()),
                      path.string());
  }
  optimizer.restore(steps, [&](const std::string& name, const Tensor& state) {
    const SafetensorsEntry& entry = file.at(name);
    std::memcpy(state.data_ptr(), file.bytes(entry).data(), static_cast<size_t>(entry.bytes));
    file.drop(entry);
  });
}

}  // namespace nibble::io
