#include "nn/each_task.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace nibble::nn {
namespace {

class EachTask : public testing::Test {
 protected:
  ~EachTask() override { at::set_num_threads(before_); }

 private:
  int before_ = at::get_num_threads();
};

TEST_F(EachTask, DoesEveryTaskOnce) {
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    for (const int64_t tasks : {0, 1, 2, 3, 100}) {
      std::vector<std::atomic<int>> done(static_cast<size_t>(tasks));
      each_task(tasks, [&](int64_t task, int64_t worker) {
        ++done[static_cast<size_t>(task)];
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, threads);
      });
      for (const auto& times : done) EXPECT_EQ(times, 1) << threads << " " << tasks;
    }
  }
}

// While one thread is held up by the first task, another does all the others.
TEST_F(EachTask, NoTaskWaitsForAnotherThreads) {
  at::set_num_threads(2);
  constexpr int64_t kTasks = 20;
  std::atomic<int64_t> others{0};
  bool waited_for_all = false;
  each_task(kTasks, [&](int64_t task, int64_t) {
    if (task > 0) {
      ++others;
      return;
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (others < kTasks - 1 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    waited_for_all = others == kTasks - 1;
  });
  EXPECT_TRUE(waited_for_all);
}

}  // namespace
}  // namespace nibble::nn
