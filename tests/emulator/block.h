// One block of CUDA threads on the CPU, one fiber a thread.
//
// Threads run one after the other until each waits or has returned. __syncthreads lets them on when all of the block's
// threads wait there; a warp operation, when all lanes of its mask do. CUDA leaves other cases undefined, and here they are
// failures that say who waits where: a thread that returned while others wait, lanes at different operations or with
// different masks, a shuffle from a lane outside the mask. A kernel that is right does not depend on the order in which its
// threads run, so the order can be reversed.
#pragma once

#include <vector_types.h>

#include <cstdint>
#include <functional>
#include <string>

// CUDA's built-in variables. Inside the emulated module only: threadIdx is of the thread that runs.
#pragma GCC visibility push(hidden)
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
#pragma GCC visibility pop

namespace nibble::emulator {

enum class WarpOperation : uint8_t { kSync, kShuffle, kShuffleUp, kShuffleDown, kShuffleXor, kVote };

enum class Order : uint8_t { kForward, kReversed };

// Runs the body once for each thread of the block that blockIdx and blockDim name. THROWS KernelFailure.
void run_block(const std::function<void()>& body, Order order);

// For kernel code, through tests/emulator/device.h.
void meet_block();
// Waits for the mask's lanes. Returns the value that lane `source` gave (shuffles), the bits of the lanes that gave a
// value other than zero (votes), or nothing of use.
uint64_t meet_warp(WarpOperation operation, unsigned mask, uint64_t value, int source);
int lane_of_thread();
void wait_for_other_blocks();  // __nanosleep: fails in the end, for blocks run one after the other

// Ends the block as failed, from the running thread.
[[noreturn]] void fail_thread(const std::string& text);

std::string place_of_thread();  // "thread (3, 0) of block (1, 0)", in a kernel only
bool in_kernel();

}  // namespace nibble::emulator
