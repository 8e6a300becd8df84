// Saves a run's checkpoints: from a copy of the state in a thread of its own while training goes on, or while training waits.
//
// What stops training is the copy, adapter and optimizer state from memory to memory, and the wait for the save before where that
// is still being written; files, checksums, fsync and the rotation of older checkpoints are the thread's. The copy's memory is
// planned (MemoryChoices::background_save) and is there from the start on, so that the first save costs no more than the others.
#pragma once

#include <filesystem>
#include <functional>
#include <future>
#include <string>

#include "io/adapter.h"
#include "optim/optimizer.h"
#include "trainer/metrics.h"
#include "trainer/run_folder.h"
#include "trainer/run_state.h"

namespace nibble::trainer {

// Of one save, or the longest of several. Seconds.
struct SaveTime {
  double blocked_s = 0.0;  // that training waited
  double total_s = 0.0;    // until the checkpoint was safe
};

// All of it outlives the writer.
struct CheckpointParts {
  RunFolder& folder;
  MetricsLog& metrics;
  const nn::Model& model;
  const io::AdapterConfig& adapter;
  const optim::Optimizer& optimizer;
  MemoryAccount* account = nullptr;
};

struct CheckpointOptions {
  std::string config;            // config.yaml of each checkpoint
  int64_t save_total_limit = 0;  // 0: all are kept
  bool in_background = false;
};

class CheckpointWriter {
 public:
  // `say` is for what a destructor cannot throw. THROWS OutOfMemoryError
  CheckpointWriter(const CheckpointParts& parts, CheckpointOptions options, std::function<void(const std::string&)> say);
  CheckpointWriter(const CheckpointWriter&) = delete;
  ~CheckpointWriter();  // waits for a save that is being written

  // Saves the state as it is now. Older checkpoints go only when this one is safe. In the background, a save that fails later is told
  // by the next check(), wait() or save(). THROWS IoError
  void save(const RunState& state);
  void check();  // THROWS what a save in the background has met
  void wait();   // until no save is being written. THROWS as check()

  SaveTime longest() const { return longest_; }  // of the saves that are done
  double take_blocked_s();                       // that training has waited since the last call

 private:
  struct Moment {  // what a checkpoint holds, and is not in copy_
    RunState state;
    io::AdapterTensors adapter;
    int64_t optimizer_steps = 0;
  };
  void write(const Moment& moment, const std::byte* copy) const;
  void count(const SaveTime& time);

  CheckpointParts parts_;
  CheckpointOptions options_;
  std::function<void(const std::string&)> say_;
  Tensor copy_;                  // [state_bytes] of the optimizer, uint8; not defined where training waits
  std::future<double> pending_;  // -> seconds that the thread took
  SaveTime current_, longest_;
  double blocked_since_taken_s_ = 0.0;
};

}  // namespace nibble::trainer
