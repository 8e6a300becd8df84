// Tasks on several threads that meet in locks of their own: at::parallel_for, which the thread sanitizer sees through.
//
// The OpenMP runtime is not instrumented. Where nobody says that a region begins after what was before it and ends before what
// follows, the sanitizer takes the caller's use of what the threads left for a race.
#pragma once

#include "tensor/torch.h"

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace nibble {

// body(begin, end) for shares of 0..count-1, each on a thread. THROWS what the first body to fail throws.
template <class Body>
void parallel_tasks(int64_t count, const Body& body) {
#ifdef __SANITIZE_THREAD__
  char region = 0;
  struct Share {
    void* region;
    explicit Share(void* r) : region(r) { __tsan_acquire(region); }
    ~Share() { __tsan_release(region); }
  };
  struct Whole {
    void* region;
    explicit Whole(void* r) : region(r) { __tsan_release(region); }
    ~Whole() { __tsan_acquire(region); }
  } const whole(&region);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const Share share(&region);
    body(begin, end);
  });
#else
  at::parallel_for(0, count, 1, body);
#endif
}

}  // namespace nibble
