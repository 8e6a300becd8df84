// A stack of its own on which code runs until it gives control back: one for each CUDA thread that waits for others.
// Switched by hand (System V ABI of x86-64): ucontext's switch makes a system call each time, and a block's 256 threads
// switch thousands of times. The stack grows down to an inaccessible page, so that overrunning it is a fault.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble::emulator {

class Fiber {
 public:
  // REQUIRES an entry that never returns: it calls yield() for ever.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void resume();        // runs the fiber until it yields; not from within a fiber
  static void yield();  // back to whoever resumed the running fiber

  static Fiber* running();  // null outside every fiber
  bool is_guard(uintptr_t address) const;

 private:
  char* map_;                    // one guard page, then the stack
  void* stack_pointer_;          // of the fiber while it waits
  void* resumer_ = nullptr;      // stack pointer of resume() while the fiber runs
  void* sanitizer_stack_ = nullptr;  // AddressSanitizer's note on the resumer's stack
  const void* resumer_bottom_ = nullptr;
  size_t resumer_bytes_ = 0;

  friend void enter_fiber();
};

}  // namespace nibble::emulator
