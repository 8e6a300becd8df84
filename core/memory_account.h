// What a run's memory is for: bytes by component, as the code that holds them reports it.
//
// An arena, a loader or LibTorch's allocator (tensor/torch_memory.h) adds what it takes and subtracts what it gives back, so
// that metrics, the comparison with the plan and an out-of-memory message can say which component holds how much. What no
// component reports (code, LibTorch's and oneDNN's own memory, the data) is the rest of the process: memory minus total().
//
// One account a run, passed along (nn::Place::account). Any thread may report.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"

namespace nibble {

enum class MemoryPart : uint8_t {
  kBase,              // the frozen linears, norms and biases
  kEmbedding,
  kHead,              // where it is not the embedding
  kAdapters,
  kGradients,
  kOptimizer,         // masters and moments
  kSavedActivations,  // what forward keeps for backward
  kWorkspace,         // temporaries of one layer
  kPanels,            // decoded weights
  kLogits,
  kCache,             // keys and values of generation
  kCheckpoint,        // the copy that is being written while training goes on
  kLibraries          // the rest: reported by nobody
};
inline constexpr size_t kMemoryParts = 13;

std::string_view memory_part_name(MemoryPart part);  // "base", "saved_activations": as metrics.jsonl has it
std::string_view memory_part_text(MemoryPart part);  // "saved activations": for people

// Host memory, pinned or not, or a device's.
enum class MemorySide : uint8_t { kHost, kDevice };

class MemoryAccount {
 public:
  MemoryAccount() = default;
  MemoryAccount(const MemoryAccount&) = delete;

  void add(MemoryPart part, MemorySide side, int64_t bytes);  // bytes may be negative: given back

  int64_t in_use(MemoryPart part, MemorySide side) const { return at(part, side).in_use; }
  int64_t peak(MemoryPart part, MemorySide side) const { return at(part, side).peak; }
  int64_t total(MemorySide side) const { return totals_[static_cast<size_t>(side)].in_use; }
  int64_t peak_total(MemorySide side) const { return totals_[static_cast<size_t>(side)].peak; }  // at one moment

  // What the run is at now, and what memory is for that nobody names otherwise: LibTorch's. Set by MemoryStage.
  const char* stage() const { return stage_; }
  MemoryPart stage_part() const { return stage_part_; }

 private:
  friend class MemoryStage;
  struct Count {
    std::atomic<int64_t> in_use{0}, peak{0};
    void add(int64_t bytes);
  };
  const Count& at(MemoryPart part, MemorySide side) const { return counts_[static_cast<size_t>(side)][static_cast<size_t>(part)]; }

  std::array<std::array<Count, kMemoryParts>, 2> counts_;
  std::array<Count, 2> totals_;
  std::atomic<const char*> stage_{"starting"};
  std::atomic<MemoryPart> stage_part_{MemoryPart::kWorkspace};
};

// Names what the run does while it lives: "loading the base". When an exception ends it the name stays, for the message.
class MemoryStage {
 public:
  // `account` may be null. REQUIRES a string that lives as long as the account.
  MemoryStage(MemoryAccount* account, const char* stage, MemoryPart part = MemoryPart::kWorkspace);
  MemoryStage(const MemoryStage&) = delete;
  ~MemoryStage();

 private:
  MemoryAccount* account_;
  const char* before_ = nullptr;
  MemoryPart part_before_ = MemoryPart::kWorkspace;
  int exceptions_;
};

// What one holder of memory has in an account; given back when it goes. When an exception ends it the numbers stay: they are
// what the message about that exception shows, and the run is over.
class MemoryShare {
 public:
  MemoryShare() = default;
  MemoryShare(MemoryAccount* account, MemoryPart part, MemorySide side) : account_(account), part_(part), side_(side) {}
  MemoryShare(MemoryShare&& other) noexcept { *this = std::move(other); }
  MemoryShare& operator=(MemoryShare&& other) noexcept;
  ~MemoryShare();

  void set(int64_t bytes);  // in place of what it was
  int64_t bytes() const { return bytes_; }
  MemoryAccount* account() const { return account_; }
  MemoryPart part() const { return part_; }
  MemorySide side() const { return side_; }

 private:
  MemoryAccount* account_ = nullptr;
  MemoryPart part_ = MemoryPart::kLibraries;
  MemorySide side_ = MemorySide::kHost;
  int64_t bytes_ = 0;
};

// An allocation that the system or the driver refused, with what it was for. The trainer adds plan and account.
struct AllocationFailed : OutOfMemoryError {
  // `cause`: the refusing call's own words, or "".
  AllocationFailed(MemoryPart part, MemorySide side, int64_t bytes, const std::string& cause);

  MemoryPart part;
  MemorySide side;
  int64_t bytes;
};

// Whether an error's text is a system's, LibTorch's, oneDNN's or CUDA's way to say that memory is at its end.
bool says_out_of_memory(std::string_view message);

}  // namespace nibble
