// Units: io/concurrent_weights, tensor/parallel_tasks
#include "io/concurrent_weights.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/memory_account.h"
#include "tensor/torch_memory.h"

namespace nibble::io {
namespace {

// So many threads for as long as it lives.
struct Threads {
  int before = at::get_num_threads();
  explicit Threads(int n) { at::set_num_threads(n); }
  ~Threads() { at::set_num_threads(before); }
};

void sleep_ms(int64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

TEST(MakeConcurrently, TakesResultsInOrderWhateverTheyTake) {
  for (const int threads : {1, 2, 4}) {
    const Threads scope(threads);
    for (const int64_t count : {0, 1, 3, 64}) {
      std::vector<int64_t> taken;
      std::atomic<int64_t> made{0};
      make_concurrently(count, threads, 3, [&](int64_t i) {
        sleep_ms(i * 7 % 3);
        ++made;
        return [&, i] { taken.push_back(i); };
      });
      EXPECT_EQ(made, count);
      ASSERT_EQ(static_cast<int64_t>(taken.size()), count) << threads;
      for (int64_t i = 0; i < count; ++i) EXPECT_EQ(taken[static_cast<size_t>(i)], i);
    }
  }
}

TEST(MakeConcurrently, KeepsFewResultsWaiting) {
  const Threads scope(3);
  std::atomic<int64_t> alive{0}, most{0};
  make_concurrently(60, 8, 2, [&](int64_t i) {
    const std::shared_ptr<int> held(new int(0), [&](int* p) {
      --alive;
      delete p;
    });
    const int64_t now = ++alive;
    int64_t seen = most;
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    return [&, held, i] { sleep_ms(i % 5 == 0 ? 3 : 0); };
  });
  EXPECT_EQ(alive, 0);
  EXPECT_LE(most, 3 + 2 + 1) << "one with each thread, two that wait, one that is taken";
}

TEST(MakeConcurrently, GivesBackWhatWasThrownAndStops) {
  for (const int threads : {1, 3}) {
    const Threads scope(threads);
    for (const bool while_taking : {false, true}) {
      std::atomic<int64_t> made{0};
      int64_t taken = 0;
      const auto run = [&] {
        make_concurrently(1000, 8, 2, [&](int64_t i) -> std::function<void()> {
          ++made;
          if (!while_taking && i == 5) throw std::runtime_error("five");
          return [&, i] {
            if (while_taking && i == 5) throw std::runtime_error("five");
            ++taken;
          };
        });
      };
      EXPECT_THROW(run(), std::runtime_error);
      EXPECT_LE(taken, 5);
      EXPECT_LT(made, 20) << "nobody begins another";
    }
  }
}

TEST(MakeConcurrently, RunsLoopsInsideOnOneThread) {
  const Threads scope(4);
  make_concurrently(8, 4, 4, [&](int64_t) {
    std::atomic<int> parts{0};
    at::parallel_for(0, 1'000'000, 1, [&](int64_t, int64_t) { ++parts; });
    EXPECT_EQ(parts, 1);
    return [] {};
  });
}

TEST(MakeConcurrently, AllocationsOfAllThreadsAreCounted) {
  const Threads scope(4);
  MemoryAccount account;
  const tensor::TorchMemory memory(account);
  const int64_t before = account.in_use(MemoryPart::kWorkspace, MemorySide::kHost);
  std::vector<Tensor> kept(16);
  make_concurrently(16, 4, 4, [&](int64_t i) {
    kept[static_cast<size_t>(i)] = at::empty({1 << 16}, at::kByte);
    sleep_ms(1);
    return [] {};
  });
  EXPECT_EQ(account.in_use(MemoryPart::kWorkspace, MemorySide::kHost) - before, 16 << 16);
}

}  // namespace
}  // namespace nibble::io
