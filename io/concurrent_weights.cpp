#include "io/concurrent_weights.h"

#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>

#include "tensor/parallel_tasks.h"

namespace nibble::io {
namespace {

class Turns {
 public:
  Turns(int64_t count, int64_t ahead, const std::function<std::function<void()>(int64_t)>& make) : count_(count), ahead_(ahead), make_(make) {}

  // One thread's share.
  void work() {
    try {
      for (int64_t i = begin(); i < count_; i = begin()) finish(i, make_(i));
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failed_ = true;
      changed_.notify_all();
      throw;
    }
  }

 private:
  int64_t begin() {
    const std::lock_guard lock(mutex_);
    return failed_ ? count_ : begun_++;
  }

  // Whoever comes while the next one is there takes it, and those that follow.
  void finish(int64_t i, std::function<void()> result) {
    std::unique_lock lock(mutex_);
    waiting_.emplace(i, std::move(result));
    for (;;) {
      while (!failed_ && !taking_ && !waiting_.empty() && waiting_.begin()->first == next_) {
        std::function<void()> take = std::move(waiting_.begin()->second);
        waiting_.erase(waiting_.begin());
        taking_ = true;
        lock.unlock();
        take();
        take = nullptr;  // what it holds goes before the next one is made
        lock.lock();
        taking_ = false;
        ++next_;
        changed_.notify_all();
      }
      if (failed_ || i - next_ < ahead_) return;
      changed_.wait(lock);
    }
  }

  const int64_t count_, ahead_;
  const std::function<std::function<void()>(int64_t)>& make_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, std::function<void()>> waiting_;
  int64_t begun_ = 0, next_ = 0;
  bool taking_ = false, failed_ = false;
};

}  // namespace

void make_concurrently(int64_t count, int64_t threads, int64_t ahead, const std::function<std::function<void()>(int64_t)>& make) {
  Turns turns(count, std::max<int64_t>(1, ahead), make);
  // Who counts this thread's allocations (tensor/torch_memory.h) counts those of its helpers.
  const auto observers = c10::ThreadLocalDebugInfo::current();
  parallel_tasks(std::min({count, threads, int64_t{at::get_num_threads()}}), [&](int64_t, int64_t) {
    const c10::DebugInfoGuard observed(observers);
    turns.work();
  });
}

}  // namespace nibble::io
