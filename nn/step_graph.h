// Pieces of a step as CUDA graphs. A step of a small model is hundreds of launches of some microseconds each; recorded once, a
// piece's launches are repeated by one call, and the host is out of the way.
//
// A piece is work on the place's stream whose launches are the same whenever its key is: the same kernels, sizes and addresses.
// It may use a second stream that it forks from the first and joins to it again. It must not wait on the host, and must not have
// LibTorch allocate: matrix products into given tensors do not (cuBLAS's workspace for the stream exists after the first run),
// attention does, and so do the loss's varying rows. Those stay between the pieces (nn/layer.cpp). So neither LibTorch's allocator
// nor its random numbers need to know of the recording, and the graphs do not depend on where documents begin.
//
// A key's first run is plain, which warms up libraries; the second is recorded and replayed; all others are replayed.
#pragma once

#include <any>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "nn/place.h"

namespace nibble::nn {

class StepGraphs {
 public:
  using Key = std::vector<int64_t>;  // numbers and addresses that the piece's launches depend on, all of them

  // How a piece was run.
  enum class Run : uint8_t { kPlain, kRecorded, kReplayed };
  // Runs so far. A recorded piece was replayed, too, but counts once.
  struct Counts {
    int64_t plain = 0, recorded = 0, replayed = 0;
  };

  // What a piece changes on the host besides queueing work: a replay restores what was saved after the recording, a recording that
  // failed what was saved before it. Both empty: nothing.
  struct HostState {
    std::function<std::any()> save;
    std::function<void(const std::any&)> restore;
  };

  // Inert (every run is plain) where there is no stream that can record: on the CPU and on the default stream. At most `most`
  // keys are kept; the one used longest ago goes first. REQUIRES most >= 1
  explicit StepGraphs(const Place& place, size_t most = 1024);
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  // Has the piece's work queued. `piece` is not called for a replay. Where recording fails, `piece` is called a second time,
  // plainly, and all runs are plain from then on: see failure(). THROWS what `piece` throws when it is run plainly; CudaError
  Run run(const Key& key, const std::function<void()>& piece, const HostState& host = {});

  // Forgets all graphs: memory that they name goes. Waits for the stream where one may still be running.
  void clear();

  size_t graphs() const { return graphs_; }
  const Counts& counts() const { return counts_; }
  const std::string& failure() const { return failure_; }  // "" or why nothing is recorded any more

 private:
  struct Entry {
    void* graph = nullptr;  // null: run once, plainly
    std::any after;         // the host's state
    uint64_t used = 0;
  };
  Run run_plainly(const std::function<void()>& piece);
  bool record(Entry& entry, const std::function<void()>& piece, const HostState& host);
  void make_room();

  Place place_;
  size_t most_;
  std::map<Key, Entry> entries_;
  size_t graphs_ = 0;
  uint64_t runs_ = 0;
  Counts counts_;
  std::string failure_;
};

}  // namespace nibble::nn
