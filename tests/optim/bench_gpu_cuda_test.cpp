// The tables of bench/bench_gpu.cpp, small and on the emulated device: every row runs, and is as many launches as it says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/gpu_rows.h"
#include "bench/gpu_steps.h"
#include "tests/emulator/emulator.h"

namespace nibble::bench {
namespace {

constexpr KernelSizes kSmall{.tokens = 8, .width = 128, .heads = 2, .mlp_tokens = 3, .mlp_width = 160, .loss_rows = 4,
                             .vocab = 300, .weight_rows = 16, .weight_columns = 256};

TEST(BenchGpu, EveryRowIsOneLaunch) {
  emulator::reset();
  std::vector<std::string> names;
  {
    const gpu::Queue queue{test::emulated_module()};
    for (const auto add : {add_quant_rows, add_norm_rows, add_rope_rows, add_swiglu_rows, add_loss_rows, add_element_rows}) {
      DeviceData data(queue);
      std::vector<KernelRow> rows;
      add(data, kSmall, rows);
      for (const KernelRow& row : rows) {
        const int64_t before = emulator::calls("cudaLaunchKernelEx");
        row.run();
        EXPECT_EQ(emulator::calls("cudaLaunchKernelEx"), before + 1) << row.name;
        EXPECT_GT(row.bytes, 0) << row.name;
        names.push_back(row.name);
      }
    }
  }
  EXPECT_EQ(emulator::leaks(), "");
  EXPECT_THAT(names, testing::AllOf(testing::Contains("quant.dequantize, NF4 + double quantization"),
                                    testing::Contains("nn.cross_entropy + gradient"), testing::SizeIs(14)));
}

TEST(BenchGpu, CountsWhatDecodingMoves) {
  emulator::reset();
  DeviceData data({test::emulated_module()});
  std::vector<KernelRow> rows;
  KernelSizes sizes = kSmall;
  sizes.weight_rows = 64;
  sizes.weight_columns = 256 * 64;
  add_quant_rows(data, sizes, rows);
  EXPECT_NEAR(static_cast<double>(rows.back().bytes) / (64 * 256 * 64), 2.516, 0.001);  // bytes a weight
}

TEST(BenchGpu, StepsAreTheLaunchesThatTheySay) {
  const AdapterShape shape{4, 64, {{512, 512}}};
  for (const StepCase& c : step_cases()) {
    emulator::reset();
    {
      DeviceData data({test::emulated_module()});
      const std::vector<optim::ParamRef> params = adapter_params(data, shape);
      StepRun run = step_run(data, params, shape.layers, c, optim::kSmallestPageBytes);
      run.step();
      const int64_t launches = emulator::calls("cudaLaunchKernelEx"), waits = emulator::calls("cudaStreamSynchronize");
      run.step();
      EXPECT_EQ(emulator::calls("cudaLaunchKernelEx") - launches, run.launches) << c.name;
      EXPECT_EQ(emulator::calls("cudaStreamSynchronize"), waits) << c.name;
      if (c.budget_percent == 100) {
        EXPECT_LE(run.launches, 5) << c.name;
      } else {
        EXPECT_GT(run.arena->counters().evicted_bytes, 0) << c.name;
      }
      EXPECT_TRUE(run.optimizer->outcome().finite());
    }
    EXPECT_EQ(emulator::leaks(), "") << c.name;
  }
}

}  // namespace
}  // namespace nibble::bench
