#include "trainer/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <sstream>
#include <vector>

namespace nibble::trainer {
namespace {
using ::testing::HasSubstr;
using ::testing::Not;

MetricsRow some_row() {
  MetricsRow row;
  row.step = 100;
  row.epoch = 0.5;
  row.loss = 1.23456;
  row.grad_norm = 0.5124;
  row.learning_rate = 1.9e-4;
  row.tokens_per_s = 811.7;
  row.step_ms = 1260.2;
  row.peak_rss_mib = 1034.4;
  return row;
}

TEST(Duration, IsShortAndReadable) {
  EXPECT_EQ(duration_text(0.2), "0s");
  EXPECT_EQ(duration_text(59.4), "59s");
  EXPECT_EQ(duration_text(59.6), "1:00");
  EXPECT_EQ(duration_text(187), "3:07");
  EXPECT_EQ(duration_text(7509), "2:05:09");
  EXPECT_EQ(duration_text(3 * 86400 + 4 * 3600 + 720), "3d 04:12");
  for (const double seconds : {-1.0, 1e300, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(duration_text(seconds), "?");
  }
}

TEST(StepTimer, LeavesTheFirstStepOut) {
  StepTimer timer(10);
  EXPECT_FALSE(timer.seconds_left());
  timer.step_done(1, 50.0);  // slow start
  EXPECT_FALSE(timer.seconds_left());
  timer.step_done(2, 52.0);
  EXPECT_EQ(timer.seconds_left(), 16.0);
  timer.step_done(4, 53.0);
  EXPECT_EQ(timer.seconds_left(), 6.0);
  timer.step_done(10, 60.0);
  EXPECT_EQ(timer.seconds_left(), 0.0);
}

TEST(StepTimer, CountsOnlyThisProcessAfterAResume) {
  StepTimer timer(200);
  timer.step_done(101, 7.0);
  timer.step_done(102, 9.0);
  EXPECT_EQ(timer.seconds_left(), 98 * 2.0);
}

TEST(LiveLine, ShowsWhatAPersonWaitsFor) {
  EXPECT_EQ(live_line({100, 200, 1.23456, 811.7, 1034.4, 250.0}, 120),
            "[##########----------]  50% 100/200  loss 1.2346  812 tok/s  1034 MiB  ETA 4:10");
  EXPECT_EQ(live_line({0, 200, 2.0, 0.0, 5.0, std::nullopt}, 120),
            "[--------------------]   0% 0/200  loss 2.0000  0 tok/s  5 MiB");
}

TEST(LiveLine, NeverFillsTheTerminal) {
  for (const int columns : {0, 1, 5, 20, 40, 79, 80}) {
    EXPECT_LT(live_line({100, 200, 1.0, 800, 1000, 250.0}, columns).size(), static_cast<size_t>(std::max(columns, 1)));
  }
}

TEST(LiveLine, SurvivesOddNumbers) {
  EXPECT_THAT(live_line({7, 5, std::numeric_limits<double>::quiet_NaN(), 1, 1, std::nullopt}, 100), HasSubstr("100% 7/5  loss -  "));
  EXPECT_THAT(live_line({0, 0, 1, 1, 1, std::nullopt}, 100), HasSubstr("0/0"));
}

TEST(LoggedLine, HasTheRowsNumbers) {
  MetricsRow row = some_row();
  EXPECT_EQ(logged_line(row, 200, 250.0),
            "step 100/200  epoch 0.50  loss 1.2346  grad_norm 0.512  lr 1.90e-04  812 tok/s  1260 ms  1034 MiB  ETA 4:10");
  row.eval_loss = 1.1;
  EXPECT_THAT(logged_line(row, 200, std::nullopt), ::testing::EndsWith("1034 MiB  eval_loss 1.1000"));
}

// A row all of whose steps were left out has no numbers, and none is made up.
TEST(LoggedLine, SaysWhatWasLeftOut) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  MetricsRow row = some_row();
  row.skipped_steps = 2;
  EXPECT_THAT(logged_line(row, 200, std::nullopt), ::testing::EndsWith("1034 MiB  skipped 2"));
  row.loss = row.grad_norm = row.tokens_per_s = row.step_ms = kNan;
  EXPECT_EQ(logged_line(row, 200, std::nullopt), "step 100/200  epoch 0.50  loss -  lr 1.90e-04  1034 MiB  skipped 2");
}

TEST(LoggedLine, HasTheMemoryOfWhereTheRunComputes) {
  MetricsRow row = some_row();
  row.peak_gpu_mib = 7300.0;
  EXPECT_THAT(logged_line(row, 200, std::nullopt), ::testing::EndsWith("1260 ms  7300 MiB"));
}

TEST(Progress, OffATerminalPrintsRowsOnly) {
  std::ostringstream out;
  {
    Progress progress(out, std::nullopt);
    progress.step({1, 2, 1.0, 1.0, 1.0, std::nullopt});
    progress.row(some_row(), 200, std::nullopt);
    progress.message("saved checkpoint-100");
  }
  EXPECT_EQ(out.str(), logged_line(some_row(), 200, std::nullopt) + "\nsaved checkpoint-100\n");
  EXPECT_THAT(out.str(), Not(HasSubstr("\x1b")));
}

TEST(Progress, OnATerminalRedrawsOneLineAndKeepsMessagesAboveIt) {
  const ProgressState first{1, 2, 3.0, 1.0, 1.0, std::nullopt}, second{2, 2, 2.0, 1.0, 1.0, std::nullopt};
  std::ostringstream out;
  {
    Progress progress(out, 80);
    progress.step(first);
    progress.row(some_row(), 200, std::nullopt);  // nothing: the live line has it
    progress.message("saved");
    progress.step(second);
  }
  const std::string a = live_line(first, 80), b = live_line(second, 80);
  EXPECT_EQ(out.str(), a + "\r\x1b[Ksaved\n" + a + "\r\x1b[K" + b + "\n");
}

TEST(PeakRss, GrowsWithMemoryInUse) {
  const double before = peak_rss_mib();
  EXPECT_GT(before, 1.0);
  EXPECT_LT(before, 1e6);
  std::vector<char> block(64 << 20);
  for (size_t i = 0; i < block.size(); i += 1024) block[i] = static_cast<char>(i);
  // At least half of the block: some of it may take the place of pages that were resident before.
  EXPECT_GE(peak_rss_mib(), before + 32.0) << block[4096];
}

}  // namespace
}  // namespace nibble::trainer
