// A stream of items through several threads and back in order: reading, work and taking overlap, and what is in flight is bounded.
//
//   next (one thread at a time) -> work (on every thread) -> take (on the caller's thread, in the order of next)
//
// The result does not depend on the number of threads, and an error is the one that a single thread would have met first.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace nibble {

template <class Item, class Result>
struct OrderedWork {
  std::function<bool(Item&)> next;      // the next item; false: there is none, and it is not called again
  std::function<Result(Item&&)> work;
  std::function<void(Result&&)> take;
  std::function<void()> waiting;        // called on the caller's thread ten times a second and with every result; may be empty
};

// State of one run; use run_ordered.
template <class Item, class Result>
class OrderedWorkers {
 public:
  OrderedWorkers(const OrderedWork<Item, Result>& parts, int64_t threads, int64_t in_flight) : parts_(parts), in_flight_(std::max<int64_t>(1, in_flight)) {
    for (int64_t i = 0; i < std::max<int64_t>(1, threads); ++i) threads_.emplace_back([this] { share(); });
  }
  ~OrderedWorkers() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = stopped_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void take_all() {
    for (;;) {
      std::unique_lock lock(mutex_);
      const auto there = [&] { return done_.contains(taken_) || (ended_ && taken_ == begun_); };
      while (!changed_.wait_for(lock, std::chrono::milliseconds(100), there)) {
        if (!parts_.waiting) continue;
        lock.unlock();
        parts_.waiting();
        lock.lock();
      }
      const auto at = done_.find(taken_);
      if (at == done_.end()) return;
      Outcome outcome = std::move(at->second);
      done_.erase(at);
      lock.unlock();
      if (outcome.error) std::rethrow_exception(outcome.error);
      if (parts_.waiting) parts_.waiting();
      parts_.take(std::move(outcome.result));
      lock.lock();
      ++taken_;  // only now: until here it is in flight
      lock.unlock();
      changed_.notify_all();
    }
  }

 private:
  struct Outcome {
    Result result;
    std::exception_ptr error;
  };

  // One thread's share.
  void share() {
    for (;;) {
      Item item;
      int64_t number = 0;
      std::exception_ptr error;
      {
        const std::lock_guard reading(reading_);
        {
          std::unique_lock lock(mutex_);
          changed_.wait(lock, [&] { return ended_ || begun_ - taken_ < in_flight_; });
          if (ended_) return;
        }
        bool more = false;
        try {
          more = parts_.next(item);
        } catch (...) {
          error = std::current_exception();
        }
        const std::lock_guard lock(mutex_);
        ended_ = ended_ || !more;
        if (!more) changed_.notify_all();
        if (!more && !error) return;
        number = begun_++;
      }
      finish(number, std::move(item), error);
    }
  }

  void finish(int64_t number, Item&& item, std::exception_ptr error) {
    Outcome outcome{{}, error};
    if (!error) {
      try {
        outcome.result = parts_.work(std::move(item));
      } catch (...) {
        outcome.error = std::current_exception();
      }
    }
    {
      const std::lock_guard lock(mutex_);
      if (stopped_) return;
      if (outcome.error) ended_ = true;  // what is behind it never begins; what is before it is still taken
      done_.emplace(number, std::move(outcome));
    }
    changed_.notify_all();
  }

  const OrderedWork<Item, Result>& parts_;
  const int64_t in_flight_;
  std::mutex reading_, mutex_;
  std::condition_variable changed_;
  std::map<int64_t, Outcome> done_;
  int64_t begun_ = 0, taken_ = 0;
  bool ended_ = false, stopped_ = false;
  std::vector<std::thread> threads_;
};

// Returns when all of it is taken. At most `in_flight` items are between next and the end of take. An exception of any part ends all
// of it and comes back, of several the one that belongs to the first item. Item and Result are default-constructible and movable.
template <class Item, class Result>
void run_ordered(const OrderedWork<Item, Result>& parts, int64_t threads, int64_t in_flight) {
  OrderedWorkers<Item, Result> workers(parts, threads, in_flight);
  workers.take_all();
}

}  // namespace nibble
