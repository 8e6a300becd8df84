#include "core/ordered_workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>

namespace nibble {
namespace {

// Numbers 0..count-1, squared; `each` is called with every one on its thread.
std::vector<int64_t> squares(int64_t count, int64_t threads, int64_t in_flight, const std::function<void(int64_t)>& each = {},
                             const std::function<void(int64_t)>& taking = {}) {
  int64_t at = 0;
  std::vector<int64_t> taken;
  OrderedWork<int64_t, int64_t> parts;
  parts.next = [&](int64_t& item) {
    item = at++;
    return item < count;
  };
  parts.work = [&](int64_t&& item) {
    if (each) each(item);
    return item * item;
  };
  parts.take = [&](int64_t&& result) {
    if (taking) taking(result);
    taken.push_back(result);
  };
  run_ordered(parts, threads, in_flight);
  return taken;
}

TEST(OrderedWorkers, TakeInOrderWithAnyNumberOfThreadsAndPlaces) {
  std::vector<int64_t> expected;
  for (int64_t i = 0; i < 300; ++i) expected.push_back(i * i);
  for (const int64_t threads : {1, 2, 8}) {
    for (const int64_t in_flight : {1, 2, 20}) {
      // Some are much slower than those behind them.
      const auto slow = [](int64_t i) {
        if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      };
      EXPECT_EQ(squares(300, threads, in_flight, slow), expected) << threads << " threads, " << in_flight << " in flight";
    }
  }
  EXPECT_TRUE(squares(0, 4, 4).empty());
}

TEST(OrderedWorkers, NeverHaveMoreInFlightThanAllowed) {
  std::atomic<int64_t> begun{0}, ended{0}, most{0};
  const auto begin = [&](int64_t) {
    const int64_t now = ++begun - ended;
    for (int64_t seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
  };
  // The taker is the slow one: workers must wait for it.
  squares(60, 4, 5, begin, [&](int64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ++ended;
  });
  EXPECT_LE(most, 5);
  EXPECT_GE(most, 2);
}

TEST(OrderedWorkers, GiveTheErrorOfTheFirstItemHoweverTheThreadsRan) {
  for (int attempt = 0; attempt < 20; ++attempt) {
    int64_t taken = 0;
    try {
      squares(1000, 1 + attempt % 5, 8,
              [](int64_t i) {
                if (i == 70) std::this_thread::sleep_for(std::chrono::milliseconds(3));
                if (i == 70 || i == 71 || i == 75) throw std::runtime_error(std::to_string(i));
              },
              [&](int64_t) { ++taken; });
      ADD_FAILURE() << "no error";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "70");
    }
    EXPECT_EQ(taken, 70);
  }
}

TEST(OrderedWorkers, EndWhereReadingTakingOrWaitingFails) {
  OrderedWork<int64_t, int64_t> parts;
  int64_t at = 0, taken = 0;
  parts.next = [&](int64_t& item) -> bool {
    item = at++;
    if (item == 5) throw std::runtime_error("read");
    return true;
  };
  parts.work = [](int64_t&& item) { return item; };
  parts.take = [&](int64_t&&) { ++taken; };
  EXPECT_THROW(run_ordered(parts, 3, 4), std::runtime_error);
  EXPECT_EQ(taken, 5) << "what was read before is taken";
  EXPECT_THROW(squares(100, 3, 4, {}, [](int64_t i) {
                 if (i == 81) throw std::logic_error("take");
               }), std::logic_error);
  parts.next = [](int64_t& item) {
    item = 1;
    return true;
  };
  int64_t asked = 0;
  parts.waiting = [&] {
    if (++asked > 50) throw std::runtime_error("stop");
  };
  EXPECT_THROW(run_ordered(parts, 2, 4), std::runtime_error) << "a stream without an end is left";
}

}  // namespace
}  // namespace nibble
