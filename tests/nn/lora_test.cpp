#include "nn/lora.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

TEST(LoraConfig, ScaleIsAlphaOverRankOrItsRoot) {
  LoraConfig config;
  config.r = 16;
  config.alpha = 32;
  EXPECT_EQ(config.scale(), 2.0f);
  config.use_rslora = true;
  EXPECT_EQ(config.scale(), 8.0f);
}

TEST(AttachLora, DrawsAWithinTheKaimingBoundAndZerosB) {
  Model model = test::tiny_model({});
  LoraConfig config;
  config.r = 8;
  attach_lora(model, config, 42);
  int64_t count = 0;
  model.each_lora([&](const std::string& path, Lora& lora) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(lora.a.size(1)));
    EXPECT_LE(lora.a.abs().max().item<double>(), bound) << path;
    // Uniform on +-bound: standard deviation bound / sqrt 3; 5 sigma of its own estimate.
    const double n = static_cast<double>(lora.a.numel());
    EXPECT_NEAR(lora.a.std().item<double>(), bound / std::sqrt(3.0), 5 * bound / std::sqrt(n)) << path;
    EXPECT_EQ(lora.b.abs().max().item<double>(), 0.0);
    EXPECT_EQ(lora.da.scalar_type(), at::kFloat);
    ++count;
  });
  EXPECT_EQ(count, model.config.num_hidden_layers * kProjections);
}

TEST(AttachLora, AnAdapterDoesNotDependOnWhichOthersExist) {
  Model all = test::tiny_model({}), some = test::tiny_model({});
  LoraConfig config;
  attach_lora(all, config, 42);
  for (Layer& layer : some.layers) {
    for (int p = 0; p < kProjections; ++p) layer.projection(static_cast<Projection>(p)).lora.reset();
  }
  config.targets = {Projection::kV};
  attach_lora(some, config, 42);
  EXPECT_TRUE(at::equal(all.layers[1].v.lora->a, some.layers[1].v.lora->a));
  EXPECT_FALSE(some.layers[1].q.lora.has_value());
  attach_lora(some, config, 43);
  EXPECT_FALSE(at::equal(all.layers[1].v.lora->a, some.layers[1].v.lora->a));
}

TEST(ZeroGradients, ClearsEveryAdapter) {
  Model model = test::tiny_model({});
  model.each_lora([](const std::string&, Lora& lora) { lora.da.fill_(1), lora.db.fill_(1); });
  zero_gradients(model);
  model.each_lora([](const std::string& path, Lora& lora) {
    EXPECT_EQ(lora.da.abs().sum().item<double>() + lora.db.abs().sum().item<double>(), 0.0) << path;
  });
}

}  // namespace
}  // namespace nibble::nn
