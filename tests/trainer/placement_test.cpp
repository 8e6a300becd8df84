#include "trainer/placement.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "optim/optimizer.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace nibble::trainer {
namespace {

TEST(Placement, IsTheCpuUnlessCudaIsAskedFor) {
  schema::RunConfig config;
  std::vector<std::string> said;
  const auto say = [&](const std::string& text) { said.push_back(text); };
  for (const DeviceChoice device : {DeviceChoice::kAuto, DeviceChoice::kCpu}) {
    config.device = device;
    const nn::Place place = choose_place(config, say);
    EXPECT_TRUE(place.device.is_cpu());
    EXPECT_FALSE(place.queue);
  }
}

TEST(Placement, SaysWhyThereIsNoCuda) {
  if (gpu::module_status().usable()) {
    EXPECT_TRUE(gpu::module_status().table != nullptr);
    return;  // here it would be chosen
  }
  schema::RunConfig config;
  config.device = DeviceChoice::kCuda;
  try {
    choose_place(config, [](const std::string&) {});
    ADD_FAILURE() << "chose a GPU that is not there";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("device: cuda, but no NVIDIA driver"));
    EXPECT_THAT(error.what(), testing::HasSubstr("device: cpu"));
  }
}

// A device type of LibTorch's that no library serves, with streams that are numbers.
class NumberedStreams final : public c10::impl::NoOpDeviceGuardImpl<at::kPrivateUse1> {
 public:
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return numbered(device, 7); }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override {
    const c10::Stream before = numbered(stream.device(), current);
    current = stream.id();
    return before;
  }
  void* getStreamNativeHandle(const c10::Stream stream) const override { return reinterpret_cast<void*>(16 * stream.id()); }

  static inline c10::StreamId current = 0;

 private:
  static c10::Stream numbered(c10::Device device, c10::StreamId id) { return c10::Stream(c10::Stream::UNSAFE, device, id); }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, NumberedStreams)

TEST(TorchStream, IsOneThatLibTorchAndOurKernelsShare) {
  EXPECT_EQ(adopt_torch_stream(at::Device(at::kPrivateUse1, 0)), reinterpret_cast<void*>(16 * 7));
  EXPECT_EQ(NumberedStreams::current, 7);
}

TEST(PagedMemory, IsForPagedOptimizersAndKeepsToItsBudget) {
  const test::TemporaryFolder folder;
  schema::RunConfig config;
  config.optim = Optim::kAdamw8bit;
  EXPECT_EQ(paged_memory(config, {}, folder.path()), nullptr);
  config.optim = Optim::kPagedAdamw32bit;
  config.paged_budget_mib = 4;
  std::unique_ptr<optim::PagedArena> memory = paged_memory(config, {}, folder.path());
  ASSERT_NE(memory, nullptr);
  const optim::PagedArena* arena = memory.get();
  std::vector<optim::ParamRef> params;
  std::vector<Tensor> weights;
  for (int64_t layer = 0; layer < 4; ++layer) {
    weights.push_back(at::zeros({1 << 17}));
    params.push_back({fmt::format("p{}", layer), weights.back(), at::ones({1 << 17}), layer});
  }
  optim::OptimizerConfig optimizer_config;
  optimizer_config.optim = config.optim;
  optim::Optimizer optimizer(optimizer_config, params, std::move(memory));
  optimizer.step(0.1, 1, 0.0);
  EXPECT_EQ(arena->memory(), optim::PagedMemory::kFile);
  EXPECT_EQ(arena->budget_bytes(), 4 << 20);
  EXPECT_GT(arena->arena_bytes(), arena->budget_bytes());
  EXPECT_LE(arena->counters().resident_bytes, arena->budget_bytes());
  EXPECT_GT(arena->counters().evicted_bytes, 0);
  // Adam's first step is the learning rate, whatever the gradient.
  for (const Tensor& w : weights) EXPECT_NEAR(w.mean().item<double>(), -0.1, 1e-6);
}

}  // namespace
}  // namespace nibble::trainer
