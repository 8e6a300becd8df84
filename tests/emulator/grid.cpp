// Runs grids, catches stray accesses, and checks that a launch depends on nothing that it must not depend on.
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/emulator/block.h"
#include "tests/emulator/failure.h"
#include "tests/emulator/fiber.h"
#include "tests/emulator/launch.h"
#include "tests/emulator/state.h"
#include "tests/emulator/symbols.h"

namespace nibble::emulator {
namespace {

struct Run {
  unsigned char poison;
  Order order;
};
// 0xFF: NaNs and -1. 0x5A: large finite numbers, which a maximum does not ignore as it does NaNs.
constexpr Run kFirst{0xFF, Order::kForward}, kSecond{0x5A, Order::kReversed}, kPoisonOnly{0x5A, Order::kForward};

void run_blocks(const Launch& launch, const Run& run) {
  const SharedMemory shared = shared_memory(launch.kernel);
  blockDim = launch.block;
  gridDim = launch.grid;
  const int64_t blocks = int64_t{launch.grid.x} * launch.grid.y;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t number = run.order == Order::kForward ? i : blocks - 1 - i;
    blockIdx = {static_cast<unsigned>(number % launch.grid.x), static_cast<unsigned>(number / launch.grid.x), 0};
    if (shared.bytes > 0) std::memset(shared.begin, run.poison, shared.bytes);
    run_block(launch.body, run.order);
  }
}

// Managed memory belongs to the kernel while one runs, and to the host again however that ends.
class KernelAccess {
 public:
  explicit KernelAccess(Memory& memory) : memory_(memory) { memory_.set_accessor(Accessor::kKernel); }
  ~KernelAccess() { memory_.set_accessor(Accessor::kHost); }

 private:
  Memory& memory_;
};

struct Region {
  std::string name;
  char* data;
  int64_t bytes;
};

std::vector<Region> checked_regions() {
  std::vector<Region> regions;
  for (const auto& [data, a] : state().memory.allocations()) {
    regions.push_back({fmt::format("allocation {} ({} bytes)", a.number, a.bytes), a.data, a.bytes});
  }
  for (const auto& [data, bytes] : state().watched) {
    regions.push_back({fmt::format("watched memory ({} bytes)", bytes), static_cast<char*>(data), bytes});
  }
  return regions;
}

using Contents = std::vector<std::vector<char>>;

Contents copy_of(const std::vector<Region>& regions) {
  Contents contents;
  for (const Region& r : regions) contents.emplace_back(r.data, r.data + r.bytes);
  return contents;
}

void write_back(const std::vector<Region>& regions, const Contents& contents) {
  for (size_t i = 0; i < regions.size(); ++i) std::memcpy(regions[i].data, contents[i].data(), contents[i].size());
}

// "" or where the regions' contents differ from another copy of them.
std::string difference(const std::vector<Region>& regions, const Contents& other) {
  for (size_t i = 0; i < regions.size(); ++i) {
    for (int64_t byte = 0; byte < regions[i].bytes; ++byte) {
      if (regions[i].data[byte] != other[i][static_cast<size_t>(byte)]) return fmt::format("byte {} of {}", byte, regions[i].name);
    }
  }
  return "";
}

class CopyAccess {
 public:
  CopyAccess() { state().memory.set_accessor(Accessor::kCopy); }
  ~CopyAccess() { state().memory.set_accessor(Accessor::kHost); }
};

void run_once(const Launch& launch, const Run& run) {
  const KernelAccess access(state().memory);
  run_blocks(launch, run);
}

void run_checked(const Launch& launch) {
  const std::vector<Region> regions = checked_regions();
  Contents before, first;
  {
    const CopyAccess access;
    before = copy_of(regions);
  }
  run_once(launch, kFirst);
  {
    const CopyAccess access;
    first = copy_of(regions);
    write_back(regions, before);
  }
  run_once(launch, kSecond);
  std::string place;
  {
    const CopyAccess access;
    place = difference(regions, first);
    if (place.empty()) return;
    write_back(regions, before);
  }
  run_once(launch, kPoisonOnly);
  const CopyAccess access;
  const bool by_poison = !difference(regions, first).empty();
  throw KernelFailure(fmt::format("{} depends on {}", place, by_poison ? "shared memory that was not written, or not yet"
                                                                      : "the order of threads or blocks: a race"));
}

// ---- faults

struct sigaction before_us[2];  // SIGSEGV, SIGBUS

std::string fault_text;

[[noreturn]] void fail_at_fault() { fail_thread(fault_text); }

// Where a fault is the kernel's, its fiber goes on in fail_at_fault, on a part of its stack that the kernel does not use.
void on_fault(int signal, siginfo_t* info, void* raw_context) {
  auto* context = static_cast<ucontext_t*>(raw_context);
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  const bool is_write = (context->uc_mcontext.gregs[REG_ERR] & 2) != 0;
  Fiber* fiber = Fiber::running();
  if (fiber != nullptr && fiber->is_guard(address)) {
    fault_text = "uses more stack than a thread of the emulator has (tests/emulator/fiber.cpp)";
  } else {
    fault_text = state().memory.resolve_fault(address, is_write);
    if (fault_text.empty()) return;
  }
  if (fiber == nullptr) {  // the host's own mistake: told, and then as if we were not here
    fmt::print(stderr, "emulator: the host {}\n", fault_text);
    sigaction(signal, &before_us[signal == SIGBUS], nullptr);
    return;
  }
  if (fiber->is_guard(address)) {
    // No stack is left to go on with: far enough up, over the frames of a fiber that never returns to them.
    context->uc_mcontext.gregs[REG_RSP] += 32 * 1024;
  }
  context->uc_mcontext.gregs[REG_RSP] = ((context->uc_mcontext.gregs[REG_RSP] - 1024) & ~greg_t{15}) - 8;
  context->uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&fail_at_fault);
}

}  // namespace

// Own stack for the handler: the one at hand may be the one that has run out.
void catch_faults() {
  constexpr size_t kStackBytes = 64 * 1024;
  static void* const handler_stack =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack_t stack{};
  stack.ss_sp = handler_stack;
  stack.ss_size = kStackBytes;
  sigaltstack(&stack, nullptr);
  static bool installed = false;
  if (std::exchange(installed, true)) return;
  struct sigaction action{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &before_us[0]);
  sigaction(SIGBUS, &action, &before_us[1]);
}

void run_grid(const Launch& launch) {
  catch_faults();  // for this thread
  try {
    if (state().checked_launches > 0) {
      run_checked(launch);
    } else {
      run_once(launch, kFirst);
    }
    if (state().checked_launches > 0) {
      const std::string damage = state().memory.damage();
      if (!damage.empty()) throw KernelFailure(damage);
    }
  } catch (const KernelFailure& failure) {
    throw KernelFailure(kernel_name(launch.kernel) + ": " + failure.what());
  }
}

}  // namespace nibble::emulator
