#include "trainer/accounting.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <new>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace nibble::trainer {
namespace {

constexpr double kMib = 1024.0 * 1024.0;
constexpr double kNearLimit = 0.95;

double mib(int64_t bytes) { return static_cast<double>(bytes) / kMib; }

// What a person can change, for each component.
const char* advice(MemoryPart part) {
  switch (part) {
    case MemoryPart::kBase: return "load_in_4bit: true holds the base in a quarter of the memory, base_residency: streamed in two layers of it";
    case MemoryPart::kEmbedding: return "offload_embedding: true leaves the embedding outside";
    case MemoryPart::kHead: return "lm_head_load_in_4bit: true holds the head in a quarter (and changes the numbers)";
    case MemoryPart::kAdapters:
    case MemoryPart::kGradients: return "lower lora_r, or name fewer lora_target_modules";
    case MemoryPart::kOptimizer: return "optim: paged_adamw_8bit with a paged_budget_mib, or a lower lora_r";
    case MemoryPart::kSavedActivations: return "recompute: layer (on a GPU, offload) keeps least; a lower max_length needs less of everything";
    case MemoryPart::kWorkspace: return "lower max_length, and on a GPU per_device_train_batch_size; mlp_chunk_tokens cuts a long row's temporaries";
    case MemoryPart::kPanels: return "a panel is as large as the largest weight: leave more memory to the run, or lower max_length";
    case MemoryPart::kLogits: return "lower loss_chunk_tokens";
    case MemoryPart::kCache: return "ask for fewer tokens";
    case MemoryPart::kCheckpoint: return "set save_in_background: false";
    case MemoryPart::kLibraries: return "end other programs, or set OMP_NUM_THREADS lower";
  }
  return "";
}

// What LibTorch's allocators say that they were asked for; 0: not known.
int64_t bytes_in(const std::string& message) {
  const auto number_after = [&](const char* words) {
    const size_t at = message.find(words);
    double value = 0.0;
    if (at != std::string::npos) std::from_chars(message.data() + at + std::string_view(words).size(), message.data() + message.size(), value);
    return value;
  };
  if (const double bytes = number_after("you tried to allocate "); bytes > 0) return static_cast<int64_t>(bytes);
  const size_t unit = message.find("iB", message.find("Tried to allocate "));
  if (unit == std::string::npos || unit == 0) return 0;
  const double scale = message[unit - 1] == 'G' ? kMib * 1024 : message[unit - 1] == 'K' ? 1024.0 : kMib;
  return static_cast<int64_t>(number_after("Tried to allocate ") * scale);
}

// The first line: LibTorch's errors go on with a stack of its own.
std::string first_line(std::string text) { return text.substr(0, text.find('\n')); }

}  // namespace

void RunMemory::assign(const nn::Model& model) {
  torch_memory_.assign(model.embedding, MemoryPart::kEmbedding);
  const quant::QuantizedWeight& packed = model.head.packed;
  for (const Tensor& part : {model.head.dense, packed.codes, packed.absmax, packed.absmax_codes, packed.nested_absmax}) {
    if (!part.is_same(model.embedding)) torch_memory_.assign(part, MemoryPart::kHead);
  }
  model.each_lora([&](const std::string&, const nn::Lora& lora) {
    for (const Tensor& factor : {lora.a, lora.b}) torch_memory_.assign(factor, MemoryPart::kAdapters);
    for (const Tensor& gradient : {lora.da, lora.db}) torch_memory_.assign(gradient, MemoryPart::kGradients);
  });
}

std::vector<MemoryLine> RunMemory::lines() const {
  std::vector<MemoryLine> all;
  for (const MemorySide side : {MemorySide::kDevice, MemorySide::kHost}) {
    for (size_t i = 0; i < kMemoryParts; ++i) {
      const auto part = static_cast<MemoryPart>(i);
      MemoryLine line{part, side, 0, account_.in_use(part, side), account_.peak(part, side)};
      for (const PlanComponent& c : plan_.components) {
        if (c.part == part && (c.device == "cpu") == (side == MemorySide::kHost)) line.planned += c.bytes;
      }
      if (part == MemoryPart::kLibraries && side == MemorySide::kHost) {
        line.in_use = std::max<int64_t>(0, resident_bytes() - account_.total(side));
        line.peak = std::max<int64_t>(0, peak_resident_bytes() - account_.peak_total(side));
      }
      if (part == MemoryPart::kLibraries && side == MemorySide::kDevice) {
        line.in_use = line.peak = std::max<int64_t>(0, device_bytes() - account_.peak_total(side));
      }
      if (line.planned != 0 || line.peak != 0) all.push_back(line);
    }
  }
  return all;
}

NamedNumbers RunMemory::named(int64_t MemoryLine::*value) const {
  NamedNumbers numbers;
  const std::vector<MemoryLine> all = lines();
  const bool on_device = std::any_of(all.begin(), all.end(), [](const MemoryLine& line) { return line.side == MemorySide::kDevice; });
  for (const MemoryLine& line : all) {
    const std::string name(memory_part_name(line.part));
    numbers.emplace_back(on_device && line.side == MemorySide::kHost ? "host_" + name : name, mib(line.*value));
  }
  return numbers;
}

NamedNumbers RunMemory::in_use_mib() const { return named(&MemoryLine::in_use); }
NamedNumbers RunMemory::peak_mib() const { return named(&MemoryLine::peak); }

std::string RunMemory::table() const {
  std::string text = fmt::format("  {:<30} {:>10} {:>10} {:>10}\n", "MiB", "planned", "in use", "peak");
  const auto add = [&](const std::string& name, int64_t planned, int64_t in_use, int64_t peak) {
    text += fmt::format("  {:<30} {:>10.1f} {:>10.1f} {:>10.1f}\n", name, mib(planned), mib(in_use), mib(peak));
  };
  const std::vector<MemoryLine> all = lines();
  int64_t in_use = 0;
  for (const MemoryLine& line : all) {
    add(fmt::format("{}{}", memory_part_text(line.part), line.side == MemorySide::kDevice ? " (device)" : ""), line.planned, line.in_use, line.peak);
    in_use += line.in_use;
  }
  // Components have their peaks at different moments: the peak of all is less than their sum.
  add("all", planned_bytes(), in_use, measured_bytes());
  return text;
}

std::optional<std::string> RunMemory::near_limit() {
  if (warned_) return std::nullopt;
  const int64_t now = resident_bytes();
  if (static_cast<double>(now) < kNearLimit * static_cast<double>(limit_.bytes)) return std::nullopt;
  warned_ = true;
  return fmt::format("warning: {:.0f} MiB are in use, and the limit ({}) is {:.0f} MiB: beyond it the system may end this process. "
                     "Save often (save_steps), or lower max_length or set recompute: layer", mib(now), limit_.source, mib(limit_.bytes));
}

void RunMemory::refuse(MemoryPart part, MemorySide side, int64_t bytes, const std::string& cause) const {
  int64_t planned = 0, in_use = 0;
  for (const MemoryLine& line : lines()) {
    if (line.part != part || line.side != side) continue;
    planned = line.planned;
    in_use = line.in_use;
  }
  std::string text = fmt::format("out of memory while {}: {} asked for {} of {} memory; {:.1f} MiB of it are in use, {:.1f} MiB were planned",
                                 account_.stage(), memory_part_text(part), bytes > 0 ? fmt::format("{:.1f} MiB", mib(bytes)) : "more",
                                 side == MemorySide::kHost ? "host" : "device", mib(in_use), mib(planned));
  if (side == MemorySide::kHost) text += fmt::format(" (limit of the process: {:.0f} MiB, {})", mib(limit_.bytes), limit_.source);
  text += fmt::format(". What helps: {}", advice(part));
  if (part != MemoryPart::kSavedActivations) text += fmt::format("; {}", advice(MemoryPart::kSavedActivations));
  text += fmt::format("\n{}", table());
  if (!cause.empty()) text += fmt::format("  the system said: {}\n", cause);
  throw OutOfMemoryError(text);
}

void RunMemory::explain() const {
  const MemoryPart now = account_.stage_part();
  try {
    throw;
  } catch (const AllocationFailed& e) {
    refuse(e.part, e.side, e.bytes, "");
  } catch (const OutOfMemoryError& e) {
    if (plan_.components.empty()) throw;  // the plan itself was refused
    throw OutOfMemoryError(fmt::format("{}\n{}", e.message(), table()));
  } catch (const CudaError& e) {
    if (!says_out_of_memory(e.what())) throw;
    refuse(now, MemorySide::kDevice, 0, first_line(e.what()));
  } catch (const std::bad_alloc&) {
    refuse(now, MemorySide::kHost, 0, "");
  } catch (const std::system_error& e) {
    // A thread that could not be started: its stack had no room.
    if (e.code() != std::errc::resource_unavailable_try_again && e.code() != std::errc::not_enough_memory) throw;
    refuse(MemoryPart::kLibraries, MemorySide::kHost, 0, e.what());
  } catch (const std::exception& e) {
    if (!says_out_of_memory(e.what())) throw;
    const bool on_device = std::string_view(e.what()).find("CUDA") != std::string_view::npos;
    refuse(now, on_device ? MemorySide::kDevice : MemorySide::kHost, bytes_in(e.what()), first_line(e.what()));
  }
}

int with_run_memory(const std::function<int(RunMemory&)>& body) {
  RunMemory memory;
  try {
    return body(memory);
  } catch (const std::exception&) {
    memory.explain();
  }
}

}  // namespace nibble::trainer
