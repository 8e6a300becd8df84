// Units: optim/paged_arena, optim/paged_managed, optim/paged_staged, optim/paged_host, optim/paged_move_queue. What comes and
// goes, when, and that the numbers do not know.
#include "optim/paged_arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "core/error.h"
#include "tests/optim/paged_rig.h"

namespace nibble::optim {
namespace {

using test::groups_of_floats;
using test::kPage;
using test::PagedRig;

constexpr int64_t kPageFloats = kPage / 4;

// Six layers of one to two pages; 10 pages in all.
std::vector<StateGroup> six_layers() {
  return groups_of_floats({kPageFloats, 2 * kPageFloats, kPageFloats + 5, kPageFloats - 3, 2 * kPageFloats, 2 * kPageFloats});
}

class EveryMemory : public testing::TestWithParam<PagedMemory> {};
INSTANTIATE_TEST_SUITE_P(PagedArena, EveryMemory,
                         testing::Values(PagedMemory::kManaged, PagedMemory::kStaged, PagedMemory::kHost, PagedMemory::kFile),
                         [](const auto& memory) { return paged_memory_name(memory.param); });
class DeviceMemory : public testing::TestWithParam<PagedMemory> {};
INSTANTIATE_TEST_SUITE_P(PagedArena, DeviceMemory, testing::Values(PagedMemory::kManaged, PagedMemory::kStaged),
                         [](const auto& memory) { return paged_memory_name(memory.param); });

TEST_P(EveryMemory, GivesTheNumbersOfPlainMemory) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    PagedRig rig(GetParam(), six_layers(), 4 * kPage, seed);
    rig.reserve();
    ASSERT_EQ(rig.arena->memory(), GetParam());
    for (int step = 0; step < 4; ++step) {
      for (int64_t layer = 5; layer >= 0; --layer) rig.arena->prefetch_ahead(layer);
      rig.step(step);
    }
    ASSERT_TRUE(rig.holds_what_is_expected()) << "seed " << seed;
    if (rig.device) {
      ASSERT_THAT(rig.device->violations(), testing::IsEmpty()) << "seed " << seed;
    }
  }
}

// Updates from any group on, prefetches, reads and writes in any order: the numbers are right, and neither the table nor
// the device ever holds more than the budget.
TEST_P(EveryMemory, NeverExceedsItsBudgetWhateverHappens) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    std::mt19937_64 random(seed);
    const int64_t budget = (2 + static_cast<int64_t>(random() % 6)) * kPage;
    PagedRig rig(GetParam(), six_layers(), budget, seed);
    rig.reserve();
    const auto within = [&] {
      const int64_t limit = GetParam() == PagedMemory::kHost ? rig.arena->arena_bytes() : budget;
      return rig.arena->counters().resident_bytes <= limit;
    };
    for (int i = 0; i < 150; ++i) {
      const size_t group = random() % rig.groups.size();
      switch (random() % 6) {
        case 0: rig.arena->prefetch_ahead(static_cast<int64_t>(random() % 5)); break;
        case 1: {
          std::vector<float> fresh(static_cast<size_t>(rig.groups[group].bytes / 4), static_cast<float>(i));
          rig.arena->write(rig.groups[group].offset, rig.groups[group].bytes, fresh.data());
          std::copy(fresh.begin(), fresh.end(), rig.expected.begin() + rig.groups[group].offset / 4);
          break;
        }
        case 2: {
          float found = 0.0f;
          rig.arena->read(rig.groups[group].offset + 8, 4, &found);
          ASSERT_EQ(found, rig.expected[static_cast<size_t>(rig.groups[group].offset / 4 + 2)]) << "seed " << seed;
          break;
        }
        default: rig.update_window(group, i);
      }
      ASSERT_TRUE(within()) << "seed " << seed << ", access " << i;
    }
    ASSERT_TRUE(rig.holds_what_is_expected()) << "seed " << seed;
    if (rig.device) {
      ASSERT_THAT(rig.device->violations(), testing::IsEmpty()) << "seed " << seed;
      ASSERT_LE(rig.device->most_device_bytes(), budget);
    }
  }
}

TEST_P(EveryMemory, StartsWithZeros) {
  PagedRig rig(GetParam(), six_layers(), 4 * kPage);
  rig.reserve();
  EXPECT_TRUE(rig.holds_what_is_expected());
}

TEST_P(EveryMemory, IsStillPagedAfterARestore) {
  PagedRig rig(GetParam(), six_layers(), 4 * kPage);
  rig.reserve();
  rig.step(0);
  std::vector<float> state(1000, 2.5f);
  rig.arena->write(rig.groups[1].offset, 4000, state.data());
  std::copy(state.begin(), state.end(), rig.expected.begin() + rig.groups[1].offset / 4);
  const int64_t before = rig.arena->counters().evicted_bytes;
  rig.step(1);
  EXPECT_TRUE(rig.holds_what_is_expected());
  const PagingCounters counters = rig.arena->counters();
  if (GetParam() == PagedMemory::kHost) {
    EXPECT_EQ(counters.evicted_bytes, 0);
  } else {
    EXPECT_GT(rig.arena->windows(), 1u);
    EXPECT_GT(counters.evicted_bytes, before);
    EXPECT_LE(counters.resident_bytes, 4 * kPage);
  }
}

TEST_P(EveryMemory, IsOneWindowWhereTheBudgetHoldsEverything) {
  PagedRig rig(GetParam(), six_layers(), 64 * kPage);
  rig.reserve();
  EXPECT_EQ(rig.arena->before_update(0).groups, rig.groups.size());
  rig.arena->after_update(0, rig.groups.size());
  EXPECT_EQ(rig.arena->counters().evicted_bytes, 0);
}

TEST_P(EveryMemory, RefusesMisuse) {
  PagedRig rig(GetParam(), six_layers(), 4 * kPage);
  EXPECT_THROW(rig.arena->before_update(0), std::invalid_argument);
  rig.reserve();
  EXPECT_THROW(rig.reserve(), std::invalid_argument);
  EXPECT_THROW(rig.arena->after_update(0, 1), std::invalid_argument);
  const size_t groups = rig.arena->before_update(0).groups;
  float value = 0.0f;
  EXPECT_THROW(rig.arena->before_update(0), std::invalid_argument);
  EXPECT_THROW(rig.arena->read(0, 4, &value), std::invalid_argument);
  EXPECT_THROW(rig.arena->write(0, 4, &value), std::invalid_argument);
  EXPECT_THROW(rig.arena->prefetch_ahead(0), std::invalid_argument);
  EXPECT_THROW(rig.arena->after_update(0, groups + 1), std::invalid_argument);
  rig.arena->after_update(0, groups);
  EXPECT_THROW(rig.arena->prefetch_ahead(-1), std::invalid_argument);
}

TEST(PagedArena, WithoutGroupsIsNothingToPage) {
  PagedArena arena(PagedOptions{});
  arena.reserve({});
  arena.prefetch_ahead(3);
  arena.write_back();
  EXPECT_EQ(arena.counters().resident_bytes, 0);
  EXPECT_EQ(arena.windows(), 0u);
}

TEST(PagedArena, SaysWhatItIs) {
  PagedRig rig(PagedMemory::kManaged, six_layers(), 4 * kPage);
  rig.reserve();
  EXPECT_EQ(rig.arena->text(),
            "0.6 MiB of optimizer state in managed memory, 0.2 MiB of it resident at most, updated in 6 windows");
}

TEST_P(DeviceMemory, NeverWaitsOnTheHostInAStep) {
  PagedRig rig(GetParam(), six_layers(), 4 * kPage);
  rig.reserve();
  for (int step = 0; step < 3; ++step) {
    for (int64_t layer = 5; layer >= 0; --layer) rig.arena->prefetch_ahead(layer);
    rig.step(step);
  }
  EXPECT_EQ(rig.device->synchronizations(), 0);
}

TEST_P(DeviceMemory, BringsAheadWhatTheUpdateUsesFirst) {
  PagedRig rig(GetParam(), six_layers(), 4 * kPage);
  rig.reserve();
  rig.step(0);
  const int64_t demanded = rig.arena->counters().demanded_bytes;
  for (int64_t layer = 5; layer >= 0; --layer) rig.arena->prefetch_ahead(layer);
  rig.step(1);
  EXPECT_EQ(rig.arena->counters().demanded_bytes, demanded) << "a window had to be waited for";
}

// Without the hook the first windows are waited for, and the others still come ahead.
TEST_P(DeviceMemory, BringsTheNextWindowWhileOneIsUpdated) {
  PagedRig rig(GetParam(), six_layers(), 4 * kPage);
  rig.reserve();
  const size_t groups = rig.arena->before_update(0).groups;
  const PagingCounters counters = rig.arena->counters();
  EXPECT_GT(counters.prefetched_bytes, 0);
  EXPECT_EQ(counters.demanded_bytes, rig.groups[groups - 1].offset + rig.groups[groups - 1].bytes);
}

// Five layers away from the end of backward a sixth of what there is room for has come, and so on.
TEST(PagedArena, SpreadsWhatItBringsOverTheLayersOfBackward) {
  PagedRig rig(PagedMemory::kManaged, groups_of_floats(std::vector<int64_t>(24, kPageFloats)), 12 * kPage);
  rig.reserve();
  for (int64_t layer = 5; layer >= 0; --layer) {
    rig.arena->prefetch_ahead(layer);
    EXPECT_EQ(rig.arena->counters().prefetched_bytes, (6 - layer) * 2 * kPage);
  }
}

TEST(PagedArena, MovesPagesOnItsOwnStreamOnly) {
  PagedRig rig(PagedMemory::kManaged, six_layers(), 4 * kPage);
  rig.reserve();
  rig.arena->prefetch_ahead(0);
  ASSERT_FALSE(rig.device->prefetches().empty()) << "nothing came while backward runs";
  rig.step(0);
  std::set<void*> streams;
  for (const test::FakePrefetch& prefetch : rig.device->prefetches()) streams.insert(prefetch.stream);
  EXPECT_EQ(streams.size(), 1u);
  EXPECT_EQ(streams.count(rig.device->queue().stream), 0u);
}

// Three pages of room for one-page layers: the page that goes is always the one used longest ago.
TEST(PagedArena, EvictsThePageUsedLongestAgo) {
  PagedRig rig(PagedMemory::kManaged, groups_of_floats(std::vector<int64_t>(6, kPageFloats)), 3 * kPage);
  rig.reserve();
  for (const size_t group : {5, 4, 5, 3}) rig.update_window(group, 0);  // from the end: nothing is brought ahead of 5
  rig.device->forget_log();
  rig.update_window(0, 0);
  std::vector<int64_t> left;
  const std::byte* base = nullptr;
  for (const test::FakePrefetch& prefetch : rig.device->prefetches()) {
    if (prefetch.location != gpu::kHost && base == nullptr) base = prefetch.begin;  // group 0 arrives first
  }
  for (const test::FakePrefetch& prefetch : rig.device->prefetches()) {
    if (prefetch.location == gpu::kHost) left.push_back((prefetch.begin - base) / kPage);
  }
  ASSERT_FALSE(left.empty());
  EXPECT_EQ(left.front(), 4) << "used before 5 was used again";
}

// Pages that came and were not written are dropped where home still has them.
TEST(PagedArena, WritesBackDirtyPagesOnly) {
  PagedRig rig(PagedMemory::kStaged, groups_of_floats(std::vector<int64_t>(4, kPageFloats)), 2 * kPage);
  rig.reserve();
  rig.arena->prefetch_ahead(0);
  EXPECT_EQ(rig.device->copied_bytes(), 2 * kPage);  // layers 0 and 1
  rig.update_window(3, 0);
  PagingCounters counters = rig.arena->counters();
  EXPECT_EQ(counters.evicted_bytes, kPage);
  EXPECT_EQ(counters.written_bytes, 0);
  EXPECT_EQ(rig.device->copied_bytes(), 3 * kPage);  // one more came, none went
  rig.update_window(2, 0);
  rig.update_window(0, 0);
  rig.arena->write_back();
  counters = rig.arena->counters();
  EXPECT_EQ(counters.written_bytes, 3 * kPage);
  rig.arena->write_back();
  EXPECT_EQ(rig.arena->counters().written_bytes, 3 * kPage) << "clean pages were written";
  EXPECT_TRUE(rig.holds_what_is_expected());
}

TEST(PagedArena, JoinsNeighbouringPagesInOnePrefetch) {
  PagedRig rig(PagedMemory::kManaged, groups_of_floats({8 * kPageFloats, 8 * kPageFloats}), 32 * kPage);
  rig.reserve();
  rig.arena->prefetch_ahead(0);
  ASSERT_EQ(rig.device->prefetches().size(), 1u);
  EXPECT_EQ(rig.device->prefetches()[0].bytes, 16 * kPage);
}

// Each call of the runtime fails once, wherever it stands: the error quotes it, and nothing is left behind.
TEST_P(DeviceMemory, ReportsEveryFailedCallAndLeavesNothingBehind) {
  int64_t failures = 0;
  std::set<std::string> statements;
  for (int64_t nth = 1;; ++nth) {
    test::FakeDevice fake;
    fake.managed = GetParam() == PagedMemory::kManaged;
    test::FakeRuntime runtime(fake);
    std::string message;
    {
      PagedOptions options;
      options.budget_bytes = 4 * kPage;
      options.page_bytes = kPage;
      options.queue = runtime.queue();
      PagedArena arena(options);
      runtime.fail_call(nth);
      try {
        const auto groups = six_layers();
        arena.reserve(groups);
        arena.prefetch_ahead(0);
        for (size_t first = 0; first < groups.size();) {
          const size_t count = arena.before_update(first).groups;
          arena.after_update(first, count);
          first += count;
        }
        float value = 1.0f;
        arena.read(0, 4, &value);
        arena.write(0, 4, &value);
      } catch (const CudaError& error) {
        message = error.what();
      }
      if (message.empty()) runtime.fail_call(0);  // all calls were passed; those of the end may work
    }
    ASSERT_EQ(runtime.live(), 0u) << "after " << message;
    if (message.empty()) break;
    ASSERT_THAT(message, testing::HasSubstr(" failed: injected"));
    statements.insert(message.substr(0, message.find('(')));
    ++failures;
  }
  EXPECT_GT(failures, 30);
  std::vector<const char*> called{"cudaMemGetInfo",  "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags",
                                  "cudaEventRecord", "cudaStreamWaitEvent",       "cudaStreamSynchronize"};
  if (GetParam() == PagedMemory::kManaged) {
    called.insert(called.end(), {"cudaMallocManaged", "cudaMemAdvise", "cudaMemPrefetchAsync"});
  } else {
    called.insert(called.end(), {"cudaMalloc", "cudaMallocHost", "cudaMemcpyAsync"});
  }
  for (const char* statement : called) EXPECT_EQ(statements.count(statement), 1u) << statement << " never failed";
}

// The same where the failure comes as everything is given back: a destructor has nobody to tell.
TEST_P(DeviceMemory, GivesEverythingBackEvenIfTheLastWaitFails) {
  test::FakeDevice fake;
  fake.managed = GetParam() == PagedMemory::kManaged;
  test::FakeRuntime runtime(fake);
  {
    PagedOptions options;
    options.page_bytes = kPage;
    options.queue = runtime.queue();
    PagedArena arena(options);
    arena.reserve(six_layers());
    EXPECT_GT(runtime.live(), 0u);
    runtime.fail_call(1);
  }
  EXPECT_EQ(runtime.live(), 0u);
}

}  // namespace
}  // namespace nibble::optim
