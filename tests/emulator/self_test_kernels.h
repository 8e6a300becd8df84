// Kernels with one mistake each, and one without: that the emulator finds what it is for (tests/emulator/emulator_test.cpp).
#pragma once

#include <cstdint>

// The emulated module keeps what its .cu files define to itself; these are called from outside.
#pragma GCC visibility push(default)

namespace nibble::emulator {

enum class Mistake : uint8_t {
  kNone,
  kMissingBarrier,        // a thread reads what another writes, with no barrier between
  kUninitializedShared,   // an element of shared memory that nobody wrote
  kDivergentBarrier,      // half of the threads return before a barrier
  kDivergentWarp,         // one lane of a warp takes no part in a shuffle
  kLaneOutsideMask,       // a shuffle reads a lane that its mask lacks
  kReadPastTheEnd,
  kWritePastTheEnd,
  kWriteBeforeTheBeginning,
  kEndlessWait,           // for a block that has not run
};

// out[i] = in[i] + in[the i of the neighbour in the other half of the block], for blocks of 64 threads. REQUIRES n a
// multiple of 64.
void add_neighbours(const int* in, int* out, int64_t n, Mistake mistake, void* stream);

// Each operation that kernels may use, on 64 threads: out[thread * kOperations + k]. What they should give is in the test.
inline constexpr int kOperations = 12;
void run_operations(unsigned* out, void* stream);

// grid[y * width + x] = 100 * y + x for a grid of width x height blocks of 32 threads.
void number_grid(int* grid, unsigned width, unsigned height, void* stream);

// A deep recursion: more stack than a thread has.
void overrun_stack(int* out, void* stream);

// counter += 1 by each of the threads.
void count_threads(unsigned* counter, unsigned blocks, void* stream);

}  // namespace nibble::emulator

#pragma GCC visibility pop
