// How the frozen base comes to where it is used, part by part, in time: for a base that is larger than the memory that
// computes with it. Nothing but the place of the bytes changes, so a streamed run has the numbers of a resident one.
//
// The parts of a model are its layers, 0..L-1, and its output head, L. A pass enters each before using it and says which
// one it will enter next, so that the next one travels while this one computes:
//
//   forward 0, 1, ... L-1, head, backward L-1, ... 0
//
// Backward begins with the layer that forward ended with, and the next pass with the one that backward ended with: neither
// is brought twice. No BaseFeed: all weights stay where they are.
#pragma once

#include <cstdint>

namespace nibble::nn {

class BaseFeed {
 public:
  static constexpr int64_t kUnknown = -1;

  virtual ~BaseFeed() = default;

  // When this returns, the frozen weights of `part` can be used: on a device, by work queued after it on the pass's queue,
  // and until the next enter(). `next` is the part that will be entered after it, or kUnknown. THROWS CudaError
  virtual void enter(int64_t part, int64_t next) = 0;

  // Whether a part's frozen weights stay where they are, the same bytes at the same address, for as long as the model: only
  // those may be read ahead of enter(), or held on to by their address. False also says that a recorded pass cannot be
  // repeated, since what enter() queues depends on what came before it.
  virtual bool resident(int64_t part) const = 0;
};

}  // namespace nibble::nn
