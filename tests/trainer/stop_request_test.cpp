// Units: trainer/stop_request trainer/deadline trainer/input_lines
#include "trainer/stop_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <thread>

#include "core/error.h"
#include "trainer/deadline.h"
#include "trainer/input_lines.h"

namespace nibble::trainer {
namespace {

using testing::HasSubstr;

TEST(StopRequest, RemembersTheFirstSignal) {
  std::signal(SIGHUP, SIG_DFL);  // the tests may run under nohup
  for (const auto& [number, name] : {std::pair(SIGINT, "SIGINT"), {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}}) {
    const StopRequest stop;
    EXPECT_FALSE(stop.requested());
    EXPECT_STREQ(stop.name(), "");
    stop.check("working");
    std::raise(number);
    EXPECT_TRUE(stop.requested());
    EXPECT_STREQ(stop.name(), name);
    try {
      stop.check("working");
      ADD_FAILURE() << "not interrupted";
    } catch (const Interrupted& stopped) {
      EXPECT_EQ(stopped.message(), std::string(name) + " while working");
      EXPECT_EQ(static_cast<int>(stopped.exit_code()), 75);
    }
  }
}

TEST(StopRequest, LeavesAtOnceAtTheSecond) {
  EXPECT_EXIT({
    const StopRequest stop;
    std::raise(SIGTERM);
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    std::raise(SIGTERM);
    std::_Exit(1);
  }, testing::ExitedWithCode(75), "leaving at once");
}

// As `timeout` and batch systems send it: to the process, and to its group.
TEST(StopRequest, TakesASignalThatComesTwiceAtATimeForOne) {
  EXPECT_EXIT({
    const StopRequest stop;
    std::raise(SIGTERM);
    std::raise(SIGTERM);
    std::raise(SIGINT);
    std::_Exit(stop.requested() && std::string(stop.name()) == "SIGTERM" ? 3 : 1);
  }, testing::ExitedWithCode(3), "");
}

TEST(StopRequest, HearsASignalOnAnyThread) {
  const StopRequest stop;
  std::thread([] { ::raise(SIGTERM); }).join();
  EXPECT_TRUE(stop.requested());
}

TEST(StopRequest, KeepsTheRequestToSaveApart) {
  const StopRequest stop;
  EXPECT_FALSE(stop.take_save_request());
  std::raise(SIGUSR1);
  EXPECT_FALSE(stop.requested());
  EXPECT_TRUE(stop.take_save_request());
  EXPECT_FALSE(stop.take_save_request());
}

TEST(StopRequest, LeavesSighupIgnoredWhereItWas) {
  std::signal(SIGHUP, SIG_IGN);  // as nohup does
  const StopRequest stop;
  std::raise(SIGHUP);
  EXPECT_FALSE(stop.requested());
  std::signal(SIGHUP, SIG_DFL);
}

TEST(StopRequest, MakesNoFailureOfASignalAfterTheWork) {
  EXPECT_EXIT({
    { const StopRequest stop({.max_time_s = 0, .outlives_pipes = true}); }
    for (const int number : {SIGTERM, SIGUSR1, SIGPIPE, SIGXFSZ}) std::raise(number);
    std::_Exit(3);
  }, testing::ExitedWithCode(3), "");
}

TEST(StopRequest, EndsWhenItsTimeIsOver) {
  const double now = seconds_since_process_start();
  const StopRequest later({.max_time_s = now + 1000});
  EXPECT_FALSE(later.requested());
  EXPECT_TRUE(later.leaves_time_for_step());
  const StopRequest over({.max_time_s = now + 0.001});
  EXPECT_TRUE(over.requested());
  EXPECT_STREQ(over.name(), "max_time");
  EXPECT_THAT(over.reason(), HasSubstr("is over"));
}

// A clock that the test moves.
struct Clock {
  double now = 0.0;
};

TEST(Deadline, IsNeverReachedWithoutATime) {
  Deadline none(0);
  EXPECT_FALSE(none.reached());
  EXPECT_TRUE(none.leaves_time_for_step());
}

TEST(Deadline, KeepsRoomForTheLongestGapBetweenPolls) {
  Clock clock;
  Deadline deadline(100, [&] { return clock.now; });
  for (clock.now = 10; clock.now <= 80; clock.now += 10) ASSERT_FALSE(deadline.reached()) << clock.now;
  EXPECT_GE(deadline.reserve_s(), 15.0);
  clock.now = 83;  // the next poll might be at 93, or at 98
  EXPECT_FALSE(deadline.reached());
  clock.now = 86;
  EXPECT_TRUE(deadline.reached());
  clock.now = 1;
  EXPECT_TRUE(deadline.reached()) << "once reached, always";
}

TEST(Deadline, KeepsRoomForSavingTwice) {
  Clock clock;
  Deadline deadline(100, [&] { return clock.now; });
  deadline.expect_save(500'000'000);  // 10 s on a slow disk
  EXPECT_FALSE(deadline.reached());
  EXPECT_NEAR(deadline.reserve_s(), 21.0, 1e-9);
  deadline.save_took(1);  // better known now
  EXPECT_NEAR(deadline.reserve_s(), 3.0, 1e-9);
  deadline.save_took(3);
  deadline.save_took(2);
  EXPECT_NEAR(deadline.reserve_s(), 7.0, 1e-9);
  clock.now = 50;  // a save is no gap
  deadline.save_took(3);
  clock.now = 50.1;
  EXPECT_FALSE(deadline.reached());
  EXPECT_LT(deadline.reserve_s(), 7.5);
}

TEST(Deadline, LeavesNoStepHalfMade) {
  Clock clock;
  Deadline deadline(100, [&] { return clock.now; });
  deadline.step_took(20);
  for (; clock.now < 73; clock.now += 1) ASSERT_FALSE(deadline.reached());
  EXPECT_TRUE(deadline.leaves_time_for_step());
  clock.now = 74;
  EXPECT_FALSE(deadline.leaves_time_for_step());
  EXPECT_FALSE(deadline.reached()) << "what is under way may go on";
}

TEST(Deadline, KeepsMoreRoomWhereTheProcessWasSlowToBegin) {
  Clock clock{3};
  const Deadline slow(100, [&] { return clock.now; });
  EXPECT_NEAR(slow.reserve_s(), 4.0, 1e-9);
  const Deadline short_one(4, [&] { return clock.now; });
  EXPECT_NEAR(short_one.reserve_s(), 2.0, 1e-9) << "at most a quarter of the time";
}

class InputLinesTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::pipe(pipe_.data()), 0); }
  void TearDown() override {
    ::close(pipe_[0]);
    if (pipe_[1] >= 0) ::close(pipe_[1]);
  }
  void put(const std::string& text) const { ASSERT_EQ(::write(pipe_[1], text.data(), text.size()), static_cast<ssize_t>(text.size())); }
  void end() {
    ::close(pipe_[1]);
    pipe_[1] = -1;
  }
  std::array<int, 2> pipe_{};
};

TEST_F(InputLinesTest, GivesLinesWithoutTheirEnds) {
  put("one\r\n\ntwo\nthree");
  end();
  InputLines lines(pipe_[0]);
  const auto go_on = [] { return false; };
  EXPECT_EQ(lines.next(go_on), "one");
  EXPECT_EQ(lines.next(go_on), "");
  EXPECT_EQ(lines.next(go_on), "two");
  EXPECT_EQ(lines.next(go_on), "three");
  EXPECT_EQ(lines.next(go_on), std::nullopt);
  EXPECT_EQ(lines.next(go_on), std::nullopt);
}

TEST_F(InputLinesTest, WaitsNoLongerThanItIsLet) {
  put("half a li");
  InputLines lines(pipe_[0]);
  int asked = 0;
  EXPECT_EQ(lines.next([&] { return ++asked == 4; }), std::nullopt);
  put("ne\n");
  EXPECT_EQ(lines.next([] { return false; }), "half a line");
}

TEST(InputLines, SayWhatCannotBeRead) {
  const int folder = ::open("/", O_RDONLY | O_DIRECTORY);
  ASSERT_GE(folder, 0);
  EXPECT_THROW(InputLines(folder).next([] { return false; }), IoError);
  ::close(folder);
}

}  // namespace
}  // namespace nibble::trainer
