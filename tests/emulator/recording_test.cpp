// Units: gpu/runtime_table. Graphs: what two streams record is replayed as often as one asks, in every order that its events
// allow; what must not be recorded is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <stdexcept>

#include "core/error.h"
#include "gpu/in_order.h"
#include "gpu/runtime_table.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/self_test_kernels.h"

namespace nibble::emulator {
namespace {

using testing::HasSubstr;

const gpu::RuntimeTable& runtime() { return *test::emulated_module()->runtime; }

std::string cuda_error(const std::function<void()>& act) {
  try {
    act();
  } catch (const CudaError& error) {
    return error.what();
  }
  return "no error";
}

// Two counters on the device, and two streams.
class Recording : public testing::TestWithParam<Streams> {
 protected:
  void SetUp() override {
    reset({.streams = GetParam()});
    counters_ = static_cast<unsigned*>(runtime().allocate(8));
    main_ = runtime().create_stream();
    side_ = runtime().create_stream();
    forked_ = runtime().create_event();
    joined_ = runtime().create_event();
    runtime().fill_zero(counters_, 8, main_);
    runtime().synchronize(main_);
  }
  void TearDown() override {
    runtime().destroy_event(forked_);
    runtime().destroy_event(joined_);
    runtime().destroy_stream(main_);
    runtime().destroy_stream(side_);
    runtime().release(counters_);
    EXPECT_EQ(leaks(), "");
  }
  unsigned counter(int i) {
    unsigned values[2] = {};
    runtime().copy(values, counters_, 8, main_);
    return values[i];
  }
  // Has the side stream wait for the main one.
  void fork() {
    runtime().record(forked_, main_);
    runtime().wait(side_, forked_);
  }
  void join() {
    runtime().record(joined_, side_);
    runtime().wait(main_, joined_);
  }

  unsigned* counters_ = nullptr;
  void *main_ = nullptr, *side_ = nullptr, *forked_ = nullptr, *joined_ = nullptr;
};
INSTANTIATE_TEST_SUITE_P(Streams, Recording, testing::Values(Streams::kEager, Streams::kDeferred));

TEST_P(Recording, IsDoneWhenItIsReplayedAndNotBefore) {
  runtime().begin_capture(main_);
  count_threads(counters_, 1, main_);
  count_threads(counters_, 2, main_);
  void* graph = runtime().end_capture(main_);
  EXPECT_EQ(counter(0), 0u);
  for (unsigned i = 1; i <= 3; ++i) {
    runtime().replay(graph, main_);
    EXPECT_EQ(counter(0), 3 * 256 * i);
  }
  EXPECT_EQ(calls("cudaLaunchKernelEx"), 2);
  runtime().destroy_graph(graph);
  runtime().destroy_graph(nullptr);
}

TEST_P(Recording, SpansStreamsThatForkAndJoin) {
  runtime().begin_capture(main_);
  fork();
  count_threads(counters_ + 1, 1, side_);
  count_threads(counters_, 1, main_);
  join();
  runtime().copy(counters_, counters_ + 1, 4, main_);  // after both
  void* graph = runtime().end_capture(main_);
  for (unsigned i = 1; i <= 2; ++i) {
    runtime().replay(graph, main_);
    EXPECT_EQ(counter(0), 256 * i);
  }
  count_threads(counters_ + 1, 1, side_);  // it records no more
  runtime().synchronize(side_);
  EXPECT_EQ(counter(1), 768u);
  runtime().destroy_graph(graph);
}

TEST_P(Recording, ReplaysWhatNothingOrdersInOppositeOrders) {
  runtime().begin_capture(main_);
  fork();
  runtime().copy(counters_ + 1, counters_, 4, side_);  // before or after the count: nothing says
  count_threads(counters_, 1, main_);
  join();
  void* graph = runtime().end_capture(main_);
  runtime().replay(graph, main_);
  EXPECT_EQ(counter(1), 0u);
  runtime().replay(graph, main_);
  EXPECT_EQ(counter(1), 512u);
  runtime().destroy_graph(graph);
}

TEST_P(Recording, TakesCallsOfTheHostInTheirTurn) {
  const gpu::Queue queue{test::emulated_module(), main_};
  const auto seen = std::make_shared<std::vector<unsigned>>();  // the counter, each time that the call was made
  const auto look = [seen, counters = counters_] { seen->push_back(*counters); };
  count_threads(counters_, 1, main_);
  gpu::in_order(queue, look);
  count_threads(counters_, 1, main_);
  runtime().synchronize(main_);
  EXPECT_THAT(*seen, testing::ElementsAre(256u));
  runtime().begin_capture(main_);
  count_threads(counters_, 1, main_);
  gpu::in_order(queue, look);
  void* graph = runtime().end_capture(main_);
  for (int i = 0; i < 2; ++i) runtime().replay(graph, main_);
  runtime().synchronize(main_);
  EXPECT_THAT(*seen, testing::ElementsAre(256u, 768u, 1024u));
  EXPECT_EQ(seen.use_count(), 3) << "the test's, the lambda's and the recording's";
  runtime().destroy_graph(graph);
  EXPECT_EQ(seen.use_count(), 2);
}

TEST_P(Recording, GivesBackACallThatCannotBeQueued) {
  const auto held = std::make_shared<int>(0);
  const gpu::Queue no_stream{test::emulated_module(), counters_};
  EXPECT_THROW(gpu::in_order(no_stream, [held] { ++*held; }), std::invalid_argument);
  EXPECT_EQ(held.use_count(), 1);
  int called = 0;
  gpu::in_order({}, [&] { ++called; });  // no queue: at once
  EXPECT_EQ(called, 1);
}

TEST_P(Recording, RefusesWhatCannotBeReplayed) {
  const std::function<void()> forbidden[] = {[&] { runtime().allocate(8); }, [&] { runtime().synchronize(main_); },
                                             [&] { runtime().done(forked_); },
                                             [&] { unsigned here = 0; runtime().copy(&here, counters_, 4, main_); }};
  for (const auto& act : forbidden) {
    runtime().begin_capture(main_);
    EXPECT_THAT(cuda_error(act), HasSubstr("not permitted when stream is capturing"));
    EXPECT_THAT(cuda_error([&] { runtime().end_capture(main_); }), HasSubstr("due to a previous error during capture"));
  }
  EXPECT_THAT(cuda_error([] { runtime().begin_capture(nullptr); }), HasSubstr("cudaErrorStreamCaptureUnsupported"));
  EXPECT_THAT(cuda_error([&] { runtime().end_capture(main_); }), HasSubstr("cudaErrorIllegalState"));
}

TEST_P(Recording, RefusesEventsFromOutsideAndStreamsThatDoNotComeBack) {
  runtime().record(joined_, side_);
  runtime().begin_capture(main_);
  EXPECT_THAT(cuda_error([&] { runtime().wait(main_, joined_); }), HasSubstr("cudaErrorStreamCaptureIsolation"));
  runtime().abandon_capture(main_);
  runtime().begin_capture(main_);
  fork();
  count_threads(counters_, 1, side_);
  EXPECT_THAT(cuda_error([&] { runtime().end_capture(main_); }), HasSubstr("unjoined work"));
  EXPECT_THAT(cuda_error([&] { runtime().wait(side_, forked_); }), HasSubstr("cudaErrorCapturedEvent"));
  EXPECT_EQ(counter(0), 0u);
}

TEST_P(Recording, QuotesEveryCallThatFails) {
  constexpr int kEccError = 214;
  fail_call("cudaStreamBeginCapture", 1, kEccError);
  EXPECT_THAT(cuda_error([&] { runtime().begin_capture(main_); }), HasSubstr("cudaStreamBeginCapture("));
  for (const char* function : {"cudaStreamEndCapture", "cudaGraphInstantiate"}) {
    runtime().begin_capture(main_);
    fail_call(function, 1, kEccError);
    EXPECT_THAT(cuda_error([&] { runtime().end_capture(main_); }), HasSubstr(std::string(function) + "("));
    runtime().abandon_capture(main_);
  }
  runtime().begin_capture(main_);
  count_threads(counters_, 1, main_);
  void* graph = runtime().end_capture(main_);
  fail_call("cudaGraphLaunch", 1, kEccError);
  EXPECT_THAT(cuda_error([&] { runtime().replay(graph, main_); }), HasSubstr("cudaGraphLaunch("));
  runtime().destroy_graph(graph);
}

TEST(MemoryOfTheDevice, IsWhatIsFreeNow) {
  reset({.memory_bytes = 1 << 20});
  int64_t free_bytes = 0, total_bytes = 0;
  void* p = runtime().allocate(1 << 18);
  runtime().memory(&free_bytes, &total_bytes);
  EXPECT_EQ(free_bytes, 3 << 18);
  EXPECT_EQ(total_bytes, 1 << 20);
  runtime().release(p);
}

TEST(HostWait, EndsWhenTheEventHasPassed) {
  reset({.streams = Streams::kDeferred});
  auto* counter = static_cast<unsigned*>(runtime().allocate(4));
  void* event = runtime().create_event();
  runtime().fill_zero(counter, 4, nullptr);
  runtime().record(event, nullptr);
  EXPECT_FALSE(runtime().done(event));
  runtime().wait_on_host(event);
  EXPECT_TRUE(runtime().done(event));
  runtime().destroy_event(event);
  runtime().release(counter);
}

}  // namespace
}  // namespace nibble::emulator
