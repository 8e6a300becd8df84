// Units: optim/paged_arena, optim/paged_managed, optim/paged_staged, optim/paged_move_queue. Whole optimizers with paged state
// on the emulated device: the CPU's bits, no page touched that was not brought, no wait in a step, nothing left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "optim/paged_arena.h"
#include "tests/emulator/emulator.h"
#include "tests/optim/optim_problem.h"

namespace nibble::optim {
namespace {

using emulator::LogEntry;
using test::config_of;
using test::Problem;
using test::same_bits;
using test::state_of;

constexpr Optim kPaged[] = {Optim::kPagedAdamw32bit, Optim::kPagedAdamw8bit, Optim::kPagedLion32bit, Optim::kPagedLion8bit};

class PagedCuda : public testing::TestWithParam<bool> {
 protected:
  void start(emulator::Streams streams = emulator::Streams::kDeferred) {
    emulator::reset({.concurrent_managed_access = GetParam(), .streams = streams});
    stream_ = module().runtime->create_stream();
  }
  void TearDown() override {
    module().runtime->destroy_stream(stream_);
    EXPECT_EQ(emulator::leaks(), "");
  }
  static const gpu::ModuleTable& module() { return *nibble::test::emulated_module(); }
  gpu::Queue queue() const { return {&module(), stream_}; }

  // The largest layer fits into the budget, and little else.
  PagedOptions options(Optim optim) const {
    PagedOptions options;
    options.page_bytes = kSmallestPageBytes;
    options.budget_bytes = (optimizer_kind(optim).eight_bit ? 3 : 5) * kSmallestPageBytes;
    options.queue = queue();
    return options;
  }

  void* stream_ = nullptr;
};
INSTANTIATE_TEST_SUITE_P(Memory, PagedCuda, testing::Bool(), [](const auto& memory) { return memory.param ? "managed" : "staged"; });

void expect_equal(const Problem& a, const Optimizer& on_a, const Problem& b, const Optimizer& on_b) {
  const auto expected = state_of(on_a), actual = state_of(on_b);
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(same_bits(tensor, actual.at(name))) << name;
  for (size_t i = 0; i < a.params.size(); ++i) {
    EXPECT_TRUE(same_bits(a.params[i].param, b.params[i].param)) << a.params[i].name;
  }
}

TEST_P(PagedCuda, GivesTheBitsOfTheCpu) {
  for (const Optim optim : kPaged) {
    start();
    Problem host(at::kBFloat16), device(at::kBFloat16);
    Optimizer on_cpu(config_of(optim), host.params);
    {
      auto memory = std::make_unique<PagedArena>(options(optim));
      PagedArena& arena = *memory;
      Optimizer on_device(config_of(optim), device.params, std::move(memory), queue());
      EXPECT_EQ(arena.memory(), GetParam() ? PagedMemory::kManaged : PagedMemory::kStaged);
      for (int64_t step = 0; step < 3; ++step) {
        for (int64_t layer = 3; layer >= 0; --layer) arena.prefetch_ahead(layer);
        host.train(on_cpu, step, step + 1);
        device.train(on_device, step, step + 1);
        EXPECT_TRUE(on_device.outcome().finite());  // waits: the next gradients overwrite these
      }
      EXPECT_GT(arena.windows(), 1u);
      EXPECT_EQ(emulator::memory_use().evictions, 0) << "the device had to make room by itself";
      expect_equal(host, on_cpu, device, on_device);
    }
    if (optim != kPaged[3]) module().runtime->destroy_stream(stream_);
  }
}

// Where the budget holds everything: one launch, and no page that a kernel had to fetch. (Under a budget, the emulator's
// granules lie across our pages; paged_arena_test.cpp looks at every block.)
TEST_P(PagedCuda, BringsAllThatKernelsTouch) {
  start();
  Problem problem(at::kBFloat16);
  PagedOptions all = options(Optim::kPagedAdamw32bit);
  all.budget_bytes = 0;
  auto memory = std::make_unique<PagedArena>(all);
  const PagedArena& arena = *memory;
  Optimizer optimizer(config_of(Optim::kPagedAdamw32bit), problem.params, std::move(memory), queue());
  for (int64_t step = 0; step < 2; ++step) {
    problem.train(optimizer, step, step + 1);
    EXPECT_TRUE(optimizer.outcome().finite());
  }
  EXPECT_EQ(arena.windows(), 1u);
  EXPECT_EQ(arena.counters().evicted_bytes, 0);
  EXPECT_EQ(emulator::memory_use().faults_by_kernels, 0);
}

TEST_P(PagedCuda, AStepMovesOnTheSideStreamAndWaitsForNothing) {
  start(emulator::Streams::kEager);
  Problem problem(at::kBFloat16);
  auto memory = std::make_unique<PagedArena>(options(Optim::kPagedAdamw32bit));
  PagedArena& arena = *memory;
  Optimizer optimizer(config_of(Optim::kPagedAdamw32bit), problem.params, std::move(memory), queue());
  problem.train(optimizer, 0, 1);
  problem.fill_gradients(1);
  emulator::clear_log();
  for (int64_t layer = 3; layer >= 0; --layer) arena.prefetch_ahead(layer);
  optimizer.step(1e-2, 4, 1.0);
  int64_t launches = 0;
  size_t first_launch = 0, first_move = 0;
  const std::vector<LogEntry>& log = emulator::log();
  for (size_t i = 0; i < log.size(); ++i) {
    EXPECT_NE(log[i].kind, LogEntry::kSynchronize) << "a step waited on the host";
    if (log[i].kind == LogEntry::kLaunch) {
      if (launches++ == 0) first_launch = i;
      EXPECT_EQ(log[i].stream, 1);
    } else if (log[i].kind == LogEntry::kPrefetch || log[i].kind == LogEntry::kCopy) {
      if (first_move == 0) first_move = i + 1;
      EXPECT_EQ(log[i].stream, 2) << "moves belong on the side stream";
    }
  }
  EXPECT_EQ(launches, 2 + static_cast<int64_t>(arena.windows()));
  EXPECT_GT(first_move, 0u);
  EXPECT_LT(first_move - 1, first_launch) << "nothing was brought ahead of the step";
}

TEST_P(PagedCuda, GoesOnFromACheckpointAndIsStillPaged) {
  start();
  Problem host(at::kBFloat16), device(at::kBFloat16);
  Optimizer on_cpu(config_of(Optim::kPagedAdamw8bit), host.params);
  host.train(on_cpu, 0, 2);
  const auto saved = state_of(on_cpu);
  auto memory = std::make_unique<PagedArena>(options(Optim::kPagedAdamw8bit));
  const PagedArena& arena = *memory;
  Optimizer on_device(config_of(Optim::kPagedAdamw8bit), device.params, std::move(memory), queue());
  on_device.restore(2, [&](const std::string& name, const Tensor& t) { t.copy_(saved.at(name)); });
  for (int64_t step = 2; step < 4; ++step) {
    host.train(on_cpu, step, step + 1);
    device.train(on_device, step, step + 1);
    EXPECT_TRUE(on_device.outcome().finite());
  }
  EXPECT_GT(arena.counters().evicted_bytes, 0) << "everything stayed resident";
  expect_equal(host, on_cpu, device, on_device);
}

// Through the module's own checks: its messages quote the statements of gpu/runtime_cuda.cu.
TEST_P(PagedCuda, QuotesEveryCallThatFails) {
  std::vector<const char*> functions{"cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaEventRecord",
                                     "cudaStreamWaitEvent"};
  if (GetParam()) {
    functions.insert(functions.end(), {"cudaMallocManaged", "cudaMemAdvise", "cudaMemPrefetchAsync"});
  } else {
    functions.insert(functions.end(), {"cudaMallocHost"});
  }
  for (const char* function : functions) {
    for (const int nth : {1, 2}) {
      start();
      Problem problem(at::kBFloat16);
      std::string message;
      try {
        PagedArena arena(options(Optim::kPagedAdamw32bit));
        emulator::fail_call(function, nth, 2);
        arena.reserve({{0, kSmallestPageBytes}, {kSmallestPageBytes, 4 * kSmallestPageBytes}, {5 * kSmallestPageBytes, 100000}});
        for (size_t first = 0; first < 3; ++first) {
          arena.before_update(first);
          arena.after_update(first, 1);
        }
      } catch (const CudaError& error) {
        message = error.what();
      }
      const bool once = nth == 2 && (std::string(function) == "cudaMallocManaged" || std::string(function) == "cudaMallocHost" ||
                                     std::string(function) == "cudaMemAdvise" || std::string(function) == "cudaStreamCreateWithFlags");
      EXPECT_EQ(message.empty(), once) << function << " " << nth;
      if (!once) {
        EXPECT_THAT(message, testing::AllOf(testing::HasSubstr(function), testing::HasSubstr("failed")));
      }
      module().runtime->destroy_stream(stream_);
      EXPECT_EQ(emulator::leaks(), "") << function << " " << nth;
    }
  }
  start();
}

// Every kernel is launched and every window comes, and the bits are those of an optimizer that did not rehearse.
TEST_P(PagedCuda, ARehearsalChangesNothing) {
  for (const Optim optim : kPaged) {
    start();
    Problem host(at::kBFloat16), device(at::kBFloat16);
    Optimizer on_cpu(config_of(optim), host.params);
    {
      auto memory = std::make_unique<PagedArena>(options(optim));
      Optimizer on_device(config_of(optim), device.params, std::move(memory), queue());
      for (int64_t step = 0; step < 2; ++step) {
        const int64_t before = emulator::calls("cudaLaunchKernelEx");
        on_device.rehearse();
        const int64_t launches = emulator::calls("cudaLaunchKernelEx") - before;
        EXPECT_GE(launches, 2 + 2);  // norm, head, more than one window
        host.train(on_cpu, step, step + 1);
        device.train(on_device, step, step + 1);
        EXPECT_TRUE(on_device.outcome().finite());
      }
      EXPECT_EQ(on_device.steps(), 2);
      expect_equal(host, on_cpu, device, on_device);
    }
    if (optim != kPaged[3]) module().runtime->destroy_stream(stream_);
  }
}

}  // namespace
}  // namespace nibble::optim
