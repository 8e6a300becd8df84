#include "optim/paged_move_queue.h"

#include "core/error.h"

namespace nibble::optim {

MoveQueue::MoveQueue(const gpu::Queue& compute, size_t windows)
    : compute_(compute), stream_(runtime().create_stream(), runtime().destroy_stream) {
  const auto event = [&] { return CudaOwned(runtime().create_event(), runtime().destroy_event); };
  windows_.reserve(windows);
  for (size_t i = 0; i < windows; ++i) windows_.push_back({event(), event()});
}

MoveQueue::~MoveQueue() {
  for (void* stream : {stream_.get(), compute_.stream}) {
    try {
      runtime().synchronize(stream);
    } catch (const Error&) {
      // Whoever queued the work that failed hears of it from a call of theirs; a destructor has nobody to tell.
    }
  }
}

void MoveQueue::arrived(size_t window) {
  WindowEvents& w = windows_.at(window);
  runtime().record(w.arrived.get(), stream_.get());
  w.to_arrive = true;
}

void MoveQueue::before_use(size_t window) {
  WindowEvents& w = windows_.at(window);
  if (!w.to_arrive) return;
  runtime().wait(compute_.stream, w.arrived.get());
  w.to_arrive = false;
}

void MoveQueue::after_use(size_t window) {
  WindowEvents& w = windows_.at(window);
  runtime().record(w.used.get(), compute_.stream);
  w.in_use = true;
}

void MoveQueue::before_leaving(size_t window) {
  WindowEvents& w = windows_.at(window);
  if (!w.in_use) return;
  runtime().wait(stream_.get(), w.used.get());
  w.in_use = false;
}

void MoveQueue::finish() { runtime().synchronize(stream_.get()); }

}  // namespace nibble::optim
