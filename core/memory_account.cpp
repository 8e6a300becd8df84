#include "core/memory_account.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

namespace nibble {
namespace {

constexpr double kMib = 1024.0 * 1024.0;

struct PartNames {
  std::string_view name, text;
};
constexpr std::array<PartNames, kMemoryParts> kNames{{{"base", "base"},
                                                      {"embedding", "embedding"},
                                                      {"head", "output head"},
                                                      {"adapters", "adapters"},
                                                      {"gradients", "gradients"},
                                                      {"optimizer", "optimizer state"},
                                                      {"saved_activations", "saved activations"},
                                                      {"workspace", "layer workspace"},
                                                      {"panels", "decoded weights"},
                                                      {"logits", "logits"},
                                                      {"cache", "key and value cache"},
                                                      {"checkpoint", "copy of a checkpoint"},
                                                      {"libraries", "program and libraries"}}};

std::string failure_text(MemoryPart part, MemorySide side, int64_t bytes, const std::string& cause) {
  return fmt::format("{} asked for {:.1f} MiB of {} memory and did not get it{}{}", memory_part_text(part),
                     static_cast<double>(bytes) / kMib, side == MemorySide::kHost ? "host" : "device", cause.empty() ? "" : ": ", cause);
}

}  // namespace

std::string_view memory_part_name(MemoryPart part) { return kNames.at(static_cast<size_t>(part)).name; }
std::string_view memory_part_text(MemoryPart part) { return kNames.at(static_cast<size_t>(part)).text; }

void MemoryAccount::Count::add(int64_t bytes) {
  const int64_t now = in_use.fetch_add(bytes) + bytes;
  int64_t before = peak;
  while (now > before && !peak.compare_exchange_weak(before, now)) {
  }
}

void MemoryAccount::add(MemoryPart part, MemorySide side, int64_t bytes) {
  counts_[static_cast<size_t>(side)][static_cast<size_t>(part)].add(bytes);
  totals_[static_cast<size_t>(side)].add(bytes);
}

MemoryStage::MemoryStage(MemoryAccount* account, const char* stage, MemoryPart part)
    : account_(account), exceptions_(std::uncaught_exceptions()) {
  if (account_ == nullptr) return;
  before_ = account_->stage_.exchange(stage);
  part_before_ = account_->stage_part_.exchange(part);
}

MemoryStage::~MemoryStage() {
  if (account_ == nullptr || std::uncaught_exceptions() > exceptions_) return;
  account_->stage_ = before_;
  account_->stage_part_ = part_before_;
}

MemoryShare& MemoryShare::operator=(MemoryShare&& other) noexcept {
  if (this == &other) return *this;
  set(0);
  account_ = std::exchange(other.account_, nullptr);
  part_ = other.part_;
  side_ = other.side_;
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

MemoryShare::~MemoryShare() {
  if (std::uncaught_exceptions() == 0) set(0);
}

void MemoryShare::set(int64_t bytes) {
  if (account_ != nullptr && bytes != bytes_) account_->add(part_, side_, bytes - bytes_);
  bytes_ = bytes;
}

AllocationFailed::AllocationFailed(MemoryPart failed_part, MemorySide failed_side, int64_t asked_bytes, const std::string& cause)
    : OutOfMemoryError(failure_text(failed_part, failed_side, asked_bytes, cause)), part(failed_part), side(failed_side), bytes(asked_bytes) {}

bool says_out_of_memory(std::string_view message) {
  constexpr std::array<std::string_view, 7> kWords{"not enough memory",         // LibTorch's CPU allocator
                                                   "DefaultCPUAllocator",
                                                   "CUDA out of memory",        // LibTorch's CUDA allocator
                                                   "cudaErrorMemoryAllocation", // our CUDA module
                                                   "could not create a primitive",  // oneDNN: the kernel that it compiles has no room
                                                   "Cannot allocate memory",    // ENOMEM
                                                   "std::bad_alloc"};
  return std::any_of(kWords.begin(), kWords.end(), [&](std::string_view words) { return message.find(words) != std::string_view::npos; });
}

}  // namespace nibble
