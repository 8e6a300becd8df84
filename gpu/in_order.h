// Where work that is not ours joins a queue: calls of LibTorch's operators, which know nothing of the queue that they belong to.
//
// On a real device they put their kernels on LibTorch's current stream, which is the queue's (trainer/placement.h), so that the
// call itself is the queueing. On a device whose tensors are the CPU's to LibTorch (the emulated one of the tests) they compute at
// once, which would be before what is queued ahead of them, and never in a recording's replays: there the runtime calls them in
// the stream's order (RuntimeTable::call_in_order).
#pragma once

#include <memory>
#include <utility>

#include "gpu/module.h"
#include "gpu/runtime_table.h"

namespace nibble::gpu {

// Has `call` called in the queue's order: now, or each time that it is its turn. It must hold what it works on by value, and give
// the same result however often it is called on the same inputs. THROWS what it throws; CudaError
template <class Call>
void in_order(const Queue& queue, Call call) {
  if (!queue || queue.module->runtime->call_in_order == nullptr) {
    call();
    return;
  }
  auto kept = std::make_unique<Call>(std::move(call));
  queue.module->runtime->call_in_order([](void* c) { (*static_cast<Call*>(c))(); },
                                       [](void* c) { delete static_cast<Call*>(c); }, kept.release(), queue.stream);
}

}  // namespace nibble::gpu
