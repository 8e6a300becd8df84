#include "trainer/step_memory.h"

#include <gtest/gtest.h>

#include "tests/support/tiny_model.h"
#include "trainer/memory_choices.h"

namespace nibble::trainer {
namespace {

struct Case {
  const char* what;
  bool qk_norm, quantized;
  double dropout;
  int64_t chunk, mlp_chunk;
  at::ScalarType dtype = at::kFloat;
};

// The arenas of a real pass have held what the model says, to the byte, at every level and for a mix of them.
TEST(StepMemory, IsThatOfARealPass) {
  for (const Case& c : {Case{"plain", false, false, 0.0, 256, 0}, Case{"head norms", true, false, 0.0, 8, 0}, Case{"4 bits", false, true, 0.0, 256, 0},
                        Case{"dropout", false, false, 0.1, 256, 0}, Case{"MLP in chunks", false, false, 0.0, 256, 24}, Case{"bf16", false, true, 0.0, 256, 0, at::kBFloat16},
                        Case{"bf16, dropout", false, false, 0.1, 256, 0, at::kBFloat16}, Case{"bf16, MLP in chunks", true, false, 0.0, 256, 24, at::kBFloat16}}) {
    test::TinyModelOptions options;
    options.qk_norm = c.qk_norm;
    options.quantized = c.quantized;
    options.layers = 3;
    options.dtype = c.dtype;
    nn::Model model = test::tiny_model(options);
    model.each_lora([&](const std::string&, nn::Lora& lora) { lora.dropout = static_cast<float>(c.dropout); });
    StepShape shape;
    shape.model = &model.config;
    shape.tokens = 64;
    shape.labelled_rows = 63;
    shape.loss_chunk_tokens = c.chunk;
    shape.element_bytes = c.dtype == at::kFloat ? 4 : 2;
    shape.lora_r = options.r;
    shape.targets.fill(true);
    shape.dropout = c.dropout > 0;
    shape.mlp_chunk_tokens = c.mlp_chunk;
    std::vector<int32_t> ids(64), positions(64);
    for (size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<int32_t>(i);
      positions[i] = static_cast<int32_t>(i);
    }
    const std::vector<int32_t> starts{0, 64};
    auto recompute = every_layer(3, Recompute::kLayer);
    recompute[2].level = Recompute::kNone;
    for (const auto& levels : {every_layer(3, Recompute::kNone), every_layer(3, Recompute::kElementwise), every_layer(3, Recompute::kMlp),
                               every_layer(3, Recompute::kLayer), recompute}) {
      nn::Pass pass(model, 64);
      const StepMemory planned = step_memory(shape, levels);
      pass.set_mlp_chunk_tokens(c.mlp_chunk);
      pass.reserve(planned.saved_bytes, planned.scratch_bytes());
      nn::PassOptions how;
      how.recompute = levels;
      how.loss_chunk_tokens = c.chunk;
      how.dropout = {true, 1, 1};
      pass.forward_backward({ids, ids, positions, starts}, how);
      EXPECT_EQ(planned.saved_bytes, pass.saved_peak_bytes()) << c.what << ": " << recompute_text(levels);
      EXPECT_EQ(planned.scratch_bytes(), pass.scratch_peak_bytes()) << c.what << ": " << recompute_text(levels);
    }
  }
}

TEST(StepMemory, KeepsLessAtEveryLevel) {
  nn::ModelConfig model = test::tiny_model({}).config;
  model.hidden_size = 1024;
  model.intermediate_size = 4096;
  StepShape shape;
  shape.model = &model;
  shape.tokens = shape.labelled_rows = 2048;
  int64_t before = std::numeric_limits<int64_t>::max();
  for (const Recompute level : {Recompute::kNone, Recompute::kElementwise, Recompute::kMlp, Recompute::kLayer}) {
    const StepMemory memory = step_memory(shape, every_layer(2, level));
    EXPECT_LT(memory.saved_bytes, before);
    EXPECT_GE(memory.slack_bytes, 0);
    before = memory.saved_bytes;
  }
}

TEST(StepMemory, OnADeviceOffloadedInputsAreOnTheHost) {
  const nn::ModelConfig model = test::tiny_model({}).config;
  StepShape shape;
  shape.model = &model;
  shape.device = PlanDevice::kCuda;
  shape.tokens = shape.labelled_rows = 512;
  const int64_t input = 512 * model.hidden_size * 2;
  for (const int64_t layers : {0, 1, 2, 3, 9}) {
    // The two top ones stay where they are (nn/activation_offload.h).
    const auto offload = every_layer(layers, Recompute::kOffload);
    EXPECT_EQ(step_memory(shape, offload).offloaded_bytes, std::max<int64_t>(0, layers - 2) * input) << layers;
    const int64_t kept = step_memory(shape, every_layer(layers, Recompute::kLayer)).saved_bytes;
    EXPECT_EQ(kept - step_memory(shape, offload).saved_bytes, step_memory(shape, offload).offloaded_bytes) << layers;
  }
  EXPECT_EQ(step_memory(shape, every_layer(2, Recompute::kLayer)).offloaded_bytes, 0);
}

}  // namespace
}  // namespace nibble::trainer
