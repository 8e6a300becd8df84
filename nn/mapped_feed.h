// A base that is streamed from a mapped file, on the CPU: its tensors are views of the mapping, and of its pages only those
// of the part in use and the next one are resident. A model larger than memory trains; what fits in the system's page cache
// is not read from the disk again.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "nn/base_feed.h"

namespace nibble::nn {

// Stretches of mapped files that hold one part's frozen weights.
using MappedPart = std::vector<std::span<const std::byte>>;

class MappedFeed final : public BaseFeed {
 public:
  // `parts`: of every layer, then of the head. `passing`: what is used at random between them (the embedding) and goes with
  // the head. REQUIRES that all of it is in mapped files, for as long as this lives.
  MappedFeed(std::vector<MappedPart> parts, MappedPart passing);
  ~MappedFeed() override;

  void enter(int64_t part, int64_t next) override;
  bool resident(int64_t) const override { return false; }

  // Waits until what enter() announced has been brought: for tests.
  void settle();

 private:
  void drop(int64_t part);
  void stop_bringing(int64_t except);
  void work();

  std::vector<MappedPart> parts_;
  MappedPart passing_;
  int64_t current_ = kUnknown, next_ = kUnknown;

  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t wanted_ = kUnknown;    // part to be brought
  int64_t bringing_ = kUnknown;  // by the reader, now
  bool stops_ = false;           // the reader leaves the rest of it
  bool ends_ = false;
  std::thread reader_;         // last: it uses all of the above
};

// The stretches with those that touch or overlap joined, in order of their addresses.
MappedPart joined(MappedPart stretches);

}  // namespace nibble::nn
