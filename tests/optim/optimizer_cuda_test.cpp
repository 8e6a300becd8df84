// Units: optim/optimizer, optim/device_step, optim/plain_memory, optim/adamw_cuda, optim/lion_cuda. Whole optimizers on the
// emulated device against the CPU, bit for bit.
#include "optim/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"
#include "schema/enum_names.h"
#include "tests/emulator/emulator.h"
#include "tests/optim/optim_problem.h"
#include "tests/optim/window_memory.h"

namespace nibble::optim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using test::config_of;
using test::kAllOptims;
using test::Problem;
using test::same_bits;
using test::state_of;

gpu::Queue queue() { return {nibble::test::emulated_module()}; }

void expect_equal(const Problem& a, const Optimizer& on_a, const Problem& b, const Optimizer& on_b, const std::string& what) {
  const auto expected = state_of(on_a), actual = state_of(on_b);
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(same_bits(tensor, actual.at(name))) << what << " " << name;
  for (size_t i = 0; i < a.params.size(); ++i) {
    EXPECT_TRUE(same_bits(a.params[i].param, b.params[i].param)) << what << " " << a.params[i].name;
  }
}

TEST(OptimizerCuda, EqualsTheCpuBitForBit) {
  for (const Optim optim : kAllOptims) {
    for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
      emulator::reset();
      Problem host(dtype), device(dtype);
      Optimizer on_cpu(config_of(optim), host.params), on_device(config_of(optim), device.params, nullptr, queue());
      for (int64_t step = 0; step < 4; ++step) {
        host.train(on_cpu, step, step + 1);
        device.train(on_device, step, step + 1);
        EXPECT_EQ(on_cpu.outcome().grad_norm, on_device.outcome().grad_norm);
      }
      expect_equal(host, on_cpu, device, on_device, std::string(schema::enum_name(optim)));
    }
  }
}

// Each launch twice, with other bytes in shared memory and the threads in another order.
TEST(OptimizerCuda, KernelsReadNothingThatIsNotWritten) {
  for (const Optim optim : {Optim::kAdamwTorch, Optim::kAdamw8bit, Optim::kPagedAdamw32bit, Optim::kLion32bit, Optim::kLion8bit}) {
    emulator::reset();
    Problem host(at::kBFloat16), device(at::kBFloat16);
    Optimizer on_cpu(config_of(optim), host.params), on_device(config_of(optim), device.params, nullptr, queue());
    std::vector<std::unique_ptr<emulator::Watch>> watches;
    for (const ParamRef& p : device.params) {
      watches.push_back(std::make_unique<emulator::Watch>(p.param.data_ptr(), static_cast<int64_t>(p.param.nbytes())));
    }
    const emulator::CheckedLaunches checked;
    host.train(on_cpu, 0, 2);
    device.train(on_device, 0, 2);
    expect_equal(host, on_cpu, device, on_device, std::string(schema::enum_name(optim)));
  }
}

TEST(OptimizerCuda, AStepIsThreeLaunchesAndWaitsForNothing) {
  for (const Optim optim : kAllOptims) {
    emulator::reset();
    Problem problem(at::kBFloat16);
    Optimizer optimizer(config_of(optim), problem.params, nullptr, queue());
    problem.fill_gradients(0);
    emulator::clear_log();
    optimizer.step(1e-2, 4, 1.0);
    ASSERT_EQ(emulator::log().size(), 3u) << schema::enum_name(optim);
    for (const auto& entry : emulator::log()) EXPECT_EQ(entry.kind, emulator::LogEntry::kLaunch);
    EXPECT_THAT(emulator::log()[0].name, HasSubstr("gradient_norm_kernel"));
    EXPECT_THAT(emulator::log()[1].name, HasSubstr("begin_step_kernel"));
    EXPECT_EQ(emulator::log()[1].blocks, 1);
    EXPECT_EQ(emulator::log()[2].blocks, emulator::log()[0].blocks);
  }
}

// Work is done when something waits for it, and no earlier: what the constructor uploads must not be gone by then.
TEST(OptimizerCuda, WaitsWhereTheHostLooksAndOnlyThere) {
  emulator::reset({.streams = emulator::Streams::kDeferred});
  void* stream = queue().module->runtime->create_stream();
  const gpu::Queue side{queue().module, stream};
  {
    Problem host(at::kBFloat16), device(at::kBFloat16);
    Optimizer on_cpu(config_of(Optim::kAdamw8bit), host.params);
    Optimizer on_device(config_of(Optim::kAdamw8bit), device.params, nullptr, side);
    for (int64_t step = 0; step < 3; ++step) {
      host.train(on_cpu, step, step + 1);
      device.train(on_device, step, step + 1);
      EXPECT_TRUE(on_device.outcome().finite());  // waits: the next gradients overwrite these
    }
    expect_equal(host, on_cpu, device, on_device, "deferred");
  }
  queue().module->runtime->destroy_stream(stream);
  EXPECT_EQ(emulator::leaks(), "");
}

TEST(OptimizerCuda, WindowsOfMemoryGiveTheSameNumbers) {
  for (const Optim optim : {Optim::kPagedAdamw32bit, Optim::kPagedAdamw8bit, Optim::kPagedLion8bit}) {
    emulator::reset();
    Problem host(at::kBFloat16), device(at::kBFloat16);
    Optimizer on_cpu(config_of(optim), host.params);
    Optimizer on_device(config_of(optim), device.params, std::make_unique<test::WindowMemory>(1), queue());
    host.train(on_cpu, 0, 3);
    device.train(on_device, 0, 3);
    expect_equal(host, on_cpu, device, on_device, std::string(schema::enum_name(optim)));
  }
}

TEST(OptimizerCuda, ARefusedStepIsKnownWhenTheHostLooks) {
  emulator::reset();
  Problem problem(at::kBFloat16);
  Optimizer optimizer(config_of(Optim::kAdamw8bit), problem.params, nullptr, queue());
  problem.train(optimizer, 0, 2);
  const auto before = state_of(optimizer);
  problem.fill_gradients(2);
  problem.params[3].grad.data_ptr<float>()[19999] = std::numeric_limits<float>::quiet_NaN();
  optimizer.step(1e-2, 4, 1.0);
  problem.train(optimizer, 3, 5);
  EXPECT_EQ(optimizer.outcome().refused_step, 3);
  EXPECT_EQ(optimizer.steps(), 2);
  for (const auto& [name, tensor] : state_of(optimizer)) EXPECT_TRUE(same_bits(tensor, before.at(name))) << name;
  optimizer.restore(2, [&](const std::string& name, const Tensor& t) { t.copy_(before.at(name)); });
  problem.train(optimizer, 2, 3);
  EXPECT_TRUE(optimizer.outcome().finite());
}

TEST(OptimizerCuda, GoesOnAfterARefusalAsTheCpuDoes) {
  for (const Optim optim : {Optim::kAdamwTorch, Optim::kLion8bit}) {
    emulator::reset();
    Problem host(at::kBFloat16), device(at::kBFloat16);
    Optimizer on_cpu(config_of(optim), host.params), on_device(config_of(optim), device.params, nullptr, queue());
    host.train(on_cpu, 0, 2);
    device.train(on_device, 0, 2);
    device.params[0].grad.data_ptr<float>()[0] = std::numeric_limits<float>::quiet_NaN();
    on_device.step(1e-2, 4, 1.0);
    device.train(on_device, 2, 3);  // queued before anybody has looked: refused as well
    on_device.go_on();
    EXPECT_EQ(on_device.steps(), 2);
    host.train(on_cpu, 2, 4);
    device.train(on_device, 2, 4);
    EXPECT_TRUE(on_device.outcome().finite());
    EXPECT_EQ(on_device.steps(), 4);
    expect_equal(host, on_cpu, device, on_device, std::string(schema::enum_name(optim)));
  }
}

TEST(OptimizerCuda, ContinuesWhatTheCpuBegan) {
  emulator::reset();
  Problem host(at::kBFloat16), device(at::kBFloat16);
  Optimizer on_cpu(config_of(Optim::kLion8bit), host.params), on_device(config_of(Optim::kLion8bit), device.params, nullptr, queue());
  host.train(on_cpu, 0, 3);
  const auto saved = state_of(on_cpu);
  for (ParamRef& p : device.params) p.param.zero_();
  on_device.restore(3, [&](const std::string& name, const Tensor& t) { t.copy_(saved.at(name)); });
  host.train(on_cpu, 3, 5);
  device.train(on_device, 3, 5);
  expect_equal(host, on_cpu, device, on_device, "resumed");
}

TEST(OptimizerCuda, EveryFailureIsQuotedAndLeaksNothing) {
  for (const char* function : {"cudaMalloc", "cudaMemcpyAsync", "cudaMemsetAsync", "cudaStreamSynchronize"}) {
    for (int nth = 1;; ++nth) {
      emulator::reset();
      emulator::fail_call(function, nth, 2);
      bool failed = false;
      {
        Problem problem(at::kBFloat16);
        try {
          Optimizer(config_of(Optim::kAdamw8bit), problem.params, nullptr, queue());
        } catch (const CudaError& error) {
          failed = true;
          EXPECT_THAT(error.message(), HasSubstr(function));
        }
      }
      EXPECT_EQ(emulator::leaks(), "") << function << " " << nth;
      if (!failed) break;
      ASSERT_LT(nth, 100) << function << " never succeeded";
    }
  }
  for (int nth = 1; nth <= 3; ++nth) {
    emulator::reset();
    Problem problem(at::kBFloat16);
    Optimizer optimizer(config_of(Optim::kLion8bit), problem.params, nullptr, queue());
    problem.fill_gradients(0);
    emulator::fail_call("cudaLaunchKernelEx", nth, 719);
    EXPECT_THROW(optimizer.step(1e-2, 4, 1.0), CudaError);
  }
  emulator::reset();
}

TEST(OptimizerCuda, WithoutParametersStillCounts) {
  emulator::reset();
  Optimizer optimizer({}, {}, nullptr, queue());
  optimizer.step(1e-3, 1, 1.0);
  EXPECT_EQ(optimizer.outcome().grad_norm, 0.0);
  EXPECT_EQ(optimizer.steps(), 1);
}

}  // namespace
}  // namespace nibble::optim
