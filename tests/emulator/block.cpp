#include "tests/emulator/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "tests/emulator/failure.h"
#include "tests/emulator/fiber.h"

uint3 threadIdx{};
uint3 blockIdx{};
dim3 blockDim;
dim3 gridDim;

namespace nibble::emulator {
namespace {

constexpr int kWarpThreads = 32;
constexpr int64_t kMostNaps = 1 << 20;

enum class State : uint8_t { kReady, kAtBarrier, kAtWarp, kDone };

struct Thread {
  uint3 index;
  State state;
  Fiber* fiber;  // null before the first step and after the last
  // While kAtWarp: what it gave; afterwards `value` is what it got.
  WarpOperation operation;
  unsigned mask;
  int source;
  uint64_t value;
};

const char* operation_name(WarpOperation operation) {
  switch (operation) {
    case WarpOperation::kSync: return "__syncwarp";
    case WarpOperation::kShuffle: return "__shfl_sync";
    case WarpOperation::kShuffleUp: return "__shfl_up_sync";
    case WarpOperation::kShuffleDown: return "__shfl_down_sync";
    case WarpOperation::kShuffleXor: return "__shfl_xor_sync";
    case WarpOperation::kVote: return "a vote (__ballot_sync, __any_sync, __all_sync)";
  }
  return "";
}

std::string index_text(const uint3& index) { return fmt::format("({}, {})", index.x, index.y); }

// The state of the one block that runs. Fibers outlive blocks: each takes the next thread when its own has returned.
struct Block {
  std::vector<Thread> threads;
  Thread* running = nullptr;
  const std::function<void()>* body = nullptr;
  std::string failure;
  int64_t naps = 0;
  std::deque<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> free_fibers;
} block;

void run_threads() {
  for (;;) {
    (*block.body)();
    block.running->state = State::kDone;
    Fiber::yield();
  }
}

Fiber* take_fiber() {
  if (block.free_fibers.empty()) {
    block.fibers.push_back(std::make_unique<Fiber>(run_threads));
    return block.fibers.back().get();
  }
  Fiber* fiber = block.free_fibers.back();
  block.free_fibers.pop_back();
  return fiber;
}

// Fibers in the middle of a kernel cannot be used again.
[[noreturn]] void abandon(const std::string& text) {
  block.fibers.clear();
  block.free_fibers.clear();
  block.running = nullptr;
  throw KernelFailure(text);
}

void step(Thread& thread) {
  if (thread.fiber == nullptr) thread.fiber = take_fiber();
  block.running = &thread;
  threadIdx = thread.index;
  thread.fiber->resume();
  block.running = nullptr;
  if (!block.failure.empty()) abandon(std::exchange(block.failure, {}));
  if (thread.state == State::kDone) {
    block.free_fibers.push_back(thread.fiber);
    thread.fiber = nullptr;
  }
}

std::string waiting_place(const Thread& thread) {
  return thread.state == State::kAtWarp
             ? fmt::format("in {} with mask {:#010x}", operation_name(thread.operation), thread.mask)
             : "in __syncthreads";
}

// Why no thread can go on: the first that waits, and the first that does something else than wait there.
[[noreturn]] void fail_divergence() {
  const Thread* first = nullptr;
  for (const Thread& thread : block.threads) {
    if (thread.state == State::kAtBarrier || thread.state == State::kAtWarp) {
      if (first == nullptr || (first->state == State::kAtWarp && thread.state == State::kAtBarrier)) first = &thread;
    }
  }
  std::string other = "the others";
  for (const Thread& thread : block.threads) {
    if (thread.state == State::kDone) {
      other = fmt::format("thread {} has returned", index_text(thread.index));
      break;
    }
    if (&thread != first && (thread.state != first->state || thread.operation != first->operation || thread.mask != first->mask)) {
      other = fmt::format("thread {} waits {}", index_text(thread.index), waiting_place(thread));
    }
  }
  abandon(fmt::format("threads of block ({}, {}) diverge: thread {} waits {}, but {}", blockIdx.x, blockIdx.y,
                      index_text(first->index), waiting_place(*first), other));
}

int number_of(const Thread& thread) { return static_cast<int>(&thread - block.threads.data()); }

// Lets the lanes of a mask on, once the last of them has come.
void complete(Thread* warp, unsigned mask) {
  uint64_t given[kWarpThreads] = {};
  uint64_t votes = 0;
  for (int lane = 0; lane < kWarpThreads; ++lane) {
    if ((mask >> lane & 1u) == 0) continue;
    given[lane] = warp[lane].value;
    if (given[lane] != 0) votes |= uint64_t{1} << lane;
  }
  for (int lane = 0; lane < kWarpThreads; ++lane) {
    if ((mask >> lane & 1u) == 0) continue;
    warp[lane].value = warp[lane].operation == WarpOperation::kVote ? votes : given[warp[lane].source];
    warp[lane].state = State::kReady;
  }
}

// Whether every lane of a thread's mask waits for what the thread waits for. From the last lane down: threads run in
// ascending order most of the time, so that the first look tells.
bool all_have_come(const Thread* warp, const Thread& self) {
  for (int lane = kWarpThreads - 1; lane >= 0; --lane) {
    if ((self.mask >> lane & 1u) == 0) continue;
    const Thread& there = warp[lane];
    if (there.state != State::kAtWarp || there.operation != self.operation || there.mask != self.mask) return false;
  }
  return true;
}

bool all_are(State state) {
  for (const Thread& thread : block.threads) {
    if (thread.state != state) return false;
  }
  return true;
}

void start_threads() {
  const dim3 size = blockDim;
  block.threads.assign(static_cast<size_t>(size.x) * size.y, Thread{});
  for (size_t i = 0; i < block.threads.size(); ++i) {
    block.threads[i].index = {static_cast<unsigned>(i % size.x), static_cast<unsigned>(i / size.x), 0};
  }
  block.naps = 0;
}

}  // namespace

void run_block(const std::function<void()>& body, Order order) {
  start_threads();
  block.body = &body;
  const size_t count = block.threads.size();
  for (;;) {
    bool progress = false;
    for (size_t i = 0; i < count; ++i) {
      Thread& thread = block.threads[order == Order::kForward ? i : count - 1 - i];
      if (thread.state != State::kReady) continue;
      step(thread);
      progress = true;
    }
    if (progress) continue;
    if (all_are(State::kDone)) return;
    if (!all_are(State::kAtBarrier)) fail_divergence();
    for (Thread& thread : block.threads) thread.state = State::kReady;
  }
}

void meet_block() {
  block.running->state = State::kAtBarrier;
  Fiber::yield();
}

int lane_of_thread() { return number_of(*block.running) % kWarpThreads; }

uint64_t meet_warp(WarpOperation operation, unsigned mask, uint64_t value, int source) {
  Thread& self = *block.running;
  const int lane = lane_of_thread();
  if ((mask >> lane & 1u) == 0) {
    fail_thread(fmt::format("{} with mask {:#010x}, which lacks the lane {} that calls", operation_name(operation), mask, lane));
  }
  if ((mask >> source & 1u) == 0) {
    fail_thread(fmt::format("{} with mask {:#010x} reads lane {}, which is not in the mask", operation_name(operation), mask,
                            source));
  }
  self.state = State::kAtWarp;
  self.operation = operation;
  self.mask = mask;
  self.source = source;
  self.value = value;
  Thread* warp = &self - lane;
  const int lanes = static_cast<int>(std::min<int64_t>(kWarpThreads, block.threads.data() + block.threads.size() - warp));
  if (lanes < kWarpThreads && mask >> lanes != 0) {
    fail_thread(fmt::format("{} with mask {:#010x}, but the warp has {} lanes", operation_name(operation), mask, lanes));
  }
  if (all_have_come(warp, self)) {
    complete(warp, mask);
  } else {
    Fiber::yield();
  }
  return self.value;
}

void wait_for_other_blocks() {
  if (++block.naps > kMostNaps) {
    fail_thread("waits for another block for ever: blocks run one after the other here, and CUDA promises no more");
  }
}

void fail_thread(const std::string& text) {
  block.failure = fmt::format("{}: {}", place_of_thread(), text);
  for (;;) Fiber::yield();
}

std::string place_of_thread() {
  return fmt::format("thread {} of block ({}, {})", index_text(block.running->index), blockIdx.x, blockIdx.y);
}

bool in_kernel() { return block.running != nullptr && Fiber::running() != nullptr; }

}  // namespace nibble::emulator
