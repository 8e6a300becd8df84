// Units: optim/paged_table, optim/paged_windows. Bookkeeping: windows, pages, frames and the order of use.
#include "optim/paged_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <set>

#include "core/error.h"

namespace nibble::optim {
namespace {

constexpr int64_t kPage = kSmallestPageBytes;

const auto kAny = [](const Page&) { return true; };

std::vector<PageRange> ranges(size_t count) {
  std::vector<PageRange> out;
  for (size_t i = 0; i < count; ++i) out.push_back({static_cast<int64_t>(i) * kPage, kPage, i});
  return out;
}

// Groups of so many bytes each, one after another on page boundaries.
std::vector<StateGroup> groups_of(const std::vector<int64_t>& bytes) {
  std::vector<StateGroup> groups;
  int64_t at = 0;
  for (const int64_t n : bytes) {
    groups.push_back({at, n});
    at += (n + kPage - 1) / kPage * kPage;
  }
  return groups;
}

TEST(PageTable, GivesThePageUsedLongestAgoFirst) {
  PageTable table(ranges(4), 3);
  table.arrive(2);
  table.arrive(0);
  table.arrive(3);
  table.use(2);
  EXPECT_THAT(table.oldest(3, kAny), testing::ElementsAre(0, 3, 2));
  EXPECT_THAT(table.oldest(1, kAny), testing::ElementsAre(0));
  EXPECT_THAT(table.oldest(2, [](const Page& page) { return page.range.window != 0; }), testing::ElementsAre(3, 2));
  table.leave(3);
  table.arrive(1);
  EXPECT_THAT(table.oldest(9, kAny), testing::ElementsAre(0, 2, 1));
}

TEST(PageTable, GivesFramesOutAndTakesThemBack) {
  PageTable table(ranges(3), 2);
  EXPECT_EQ(table.free_frame(0), 0);
  EXPECT_EQ(table.free_frame(1), 1);
  table.arrive(0);
  table.arrive(1);
  EXPECT_EQ(table[1].frame, 1);
  EXPECT_EQ(table.free_frames(), 0);
  EXPECT_THROW(table.arrive(2), std::invalid_argument);
  table.leave(0);
  EXPECT_EQ(table.free_frame(0), 0);
  table.arrive(2);
  EXPECT_EQ(table[2].frame, 0);
  EXPECT_THROW(table.arrive(2), std::invalid_argument);
  EXPECT_THROW(table.leave(0), std::invalid_argument);
  EXPECT_THROW(table.use(0), std::invalid_argument);
}

TEST(PageTable, ForgetsThatAPageWasWrittenWhenItLeaves) {
  PageTable table(ranges(1), 1);
  table.arrive(0);
  EXPECT_FALSE(table[0].dirty);
  table.mark_written(0);
  EXPECT_TRUE(table[0].dirty);
  table.mark_clean(0);
  EXPECT_FALSE(table[0].dirty);
  table.mark_written(0);
  table.leave(0);
  table.arrive(0);
  EXPECT_FALSE(table[0].dirty);
}

// Against the simplest thing that keeps the same order: a queue that is searched.
TEST(PageTable, KeepsTheOrderOfAnyAccesses) {
  std::mt19937 random(7);
  PageTable table(ranges(12), 5);
  std::deque<size_t> order;
  for (int i = 0; i < 2000; ++i) {
    const size_t page = random() % 12;
    if (table[page].resident()) {
      order.erase(std::find(order.begin(), order.end(), page));
      table.use(page);
    } else {
      if (table.free_frames() == 0) {
        const size_t victim = table.oldest(1, kAny).at(0);
        ASSERT_EQ(victim, order.front());
        order.pop_front();
        table.leave(victim);
      }
      table.arrive(page);
    }
    order.push_back(page);
    ASSERT_LE(table.resident_bytes(), 5 * kPage);
    std::set<int64_t> frames;
    for (const size_t p : order) frames.insert(table[p].frame);
    ASSERT_EQ(frames.size(), order.size()) << "two pages in one frame";
  }
}

TEST(PlanWindows, IsOneWhereTheBudgetHoldsEverything) {
  const auto windows = plan_windows(groups_of({kPage, 3 * kPage, 10}), kPage, 5 * kPage);
  ASSERT_EQ(windows.size(), 1u);
  EXPECT_EQ(windows[0].groups, 3u);
  EXPECT_EQ(windows[0].bytes, 4 * kPage + 10);
}

TEST(PlanWindows, TakesHalfTheBudgetOtherwise) {
  const auto windows = plan_windows(groups_of({kPage, kPage, kPage, 100, kPage}), kPage, 4 * kPage);
  ASSERT_EQ(windows.size(), 3u);
  EXPECT_EQ(windows[0].groups, 2u);
  EXPECT_EQ(windows[1].first_group, 2u);
  EXPECT_EQ(windows[1].bytes, kPage + 100);
  EXPECT_EQ(windows[2].begin, 4 * kPage);
}

TEST(PlanWindows, GivesAGroupAboveHalfTheBudgetAWindowOfItsOwn) {
  const auto windows = plan_windows(groups_of({kPage, 4 * kPage, kPage}), kPage, 5 * kPage);
  ASSERT_EQ(windows.size(), 3u);
  EXPECT_EQ(windows[1].bytes, 4 * kPage);
}

TEST(PlanWindows, CoversEveryGroupOnceUnderRandomSizes) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<int64_t> bytes(1 + random() % 20);
    for (int64_t& n : bytes) n = 1 + static_cast<int64_t>(random() % (4 * kPage));
    const auto groups = groups_of(bytes);
    const int64_t budget = (4 + static_cast<int64_t>(random() % 40)) * kPage;
    const auto windows = plan_windows(groups, kPage, budget);
    size_t next = 0;
    for (const PagedWindow& window : windows) {
      ASSERT_EQ(window.first_group, next);
      ASSERT_EQ(window.begin, groups[next].offset);
      next += window.groups;
      ASSERT_EQ(window.begin + window.bytes, groups[next - 1].offset + groups[next - 1].bytes);
      ASSERT_LE(window.bytes, budget);
    }
    ASSERT_EQ(next, groups.size());
    int64_t covered = 0;
    for (const PageRange& page : cut_pages(windows, groups, kPage)) {
      ASSERT_GT(page.bytes, 0);
      ASSERT_LE(page.bytes, kPage);
      ASSERT_EQ(page.begin % kPage, 0);
      covered += page.bytes;
    }
    int64_t total = 0;
    for (const int64_t n : bytes) total += n;
    ASSERT_EQ(covered, total);
    ASSERT_EQ(whole_windows(windows).size(), windows.size());
  }
}

TEST(PlanWindows, SaysHowMuchALayerNeeds) {
  try {
    plan_windows(groups_of({64 << 20}), 2 << 20, 16 << 20);
    FAIL() << "64 MiB fitted into 16";
  } catch (const OutOfMemoryError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("one layer takes 64 MiB"), testing::HasSubstr("is 16 MiB"),
                                             testing::HasSubstr("raise paged_budget_mib to 64")));
  }
}

TEST(PlanWindows, RefusesGroupsThatAreNoPages) {
  EXPECT_THROW(plan_windows({{100, 10}}, kPage, kPage), std::invalid_argument);
  EXPECT_THROW(plan_windows({{0, 0}}, kPage, kPage), std::invalid_argument);
  EXPECT_THROW(plan_windows({{0, 2 * kPage}, {kPage, 1}}, kPage, 8 * kPage), std::invalid_argument);
  EXPECT_THROW(plan_windows({{0, 1}}, 3 * kPage, 8 * kPage), std::invalid_argument);
  EXPECT_THROW(plan_windows({{0, 1}}, 4096, 8 * kPage), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::optim
