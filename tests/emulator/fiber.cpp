#include "tests/emulator/fiber.h"

#include <sys/mman.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#error "the emulator's stack switch is written for x86-64, as nibble is (scripts/setup.sh)"
#endif

// void nibble_switch_stack(void** save, void* load): keeps the callee-saved registers and the stack pointer of who calls, and
// goes on where `load` was saved.
asm(R"(
.text
.globl nibble_switch_stack
.hidden nibble_switch_stack
.type nibble_switch_stack, @function
nibble_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size nibble_switch_stack, . - nibble_switch_stack
)");
extern "C" void nibble_switch_stack(void** save, void* load);

namespace nibble::emulator {
namespace {

constexpr size_t kGuardBytes = 4096;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 * 1024;  // red zones around every local
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif
constexpr int kSavedRegisters = 6;

Fiber* running_fiber = nullptr;
void (*fiber_entry)() = nullptr;  // of the fiber that is resumed for the first time

}  // namespace

// The first code on a fresh stack.
void enter_fiber() {
#if defined(__SANITIZE_ADDRESS__)
  Fiber* self = running_fiber;
  __sanitizer_finish_switch_fiber(nullptr, &self->resumer_bottom_, &self->resumer_bytes_);
#endif
  fiber_entry();
  __builtin_trap();
}

Fiber::Fiber(void (*entry)()) {
  void* map = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  map_ = static_cast<char*>(map);
  mprotect(map_, kGuardBytes, PROT_NONE);
  fiber_entry = entry;
  // As if the fiber had been switched away from at the first instruction of enter_fiber: six registers, then where to
  // return to. A function begins with its stack pointer 8 above a multiple of 16.
  auto** top = reinterpret_cast<void**>(map_ + kGuardBytes + kStackBytes);
  top[-2] = reinterpret_cast<void*>(&enter_fiber);
  stack_pointer_ = top - 2 - kSavedRegisters;
}

Fiber::~Fiber() {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(map_, kGuardBytes + kStackBytes);
#endif
  munmap(map_, kGuardBytes + kStackBytes);
}

void Fiber::resume() {
  running_fiber = this;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&sanitizer_stack_, map_ + kGuardBytes, kStackBytes);
#endif
  nibble_switch_stack(&resumer_, stack_pointer_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(sanitizer_stack_, nullptr, nullptr);
#endif
  running_fiber = nullptr;
}

void Fiber::yield() {
  Fiber* self = running_fiber;
#if defined(__SANITIZE_ADDRESS__)
  void* own_stack = nullptr;
  __sanitizer_start_switch_fiber(&own_stack, self->resumer_bottom_, self->resumer_bytes_);
#endif
  nibble_switch_stack(&self->stack_pointer_, self->resumer_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(own_stack, &self->resumer_bottom_, &self->resumer_bytes_);
#endif
}

Fiber* Fiber::running() { return running_fiber; }

bool Fiber::is_guard(uintptr_t address) const {
  const auto begin = reinterpret_cast<uintptr_t>(map_);
  return address >= begin && address < begin + kGuardBytes;
}

}  // namespace nibble::emulator
