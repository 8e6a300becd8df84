#include "trainer/step_memory.h"

#include <gtest/gtest.h>

#include "nn/arena.h"
#include "tests/support/tiny_model.h"
#include "trainer/memory_choices.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

// Takes and gives back the same sizes in an arena and in its model.
TEST(ArenaModel, FollowsAnArena) {
  nn::Arena arena;
  ArenaModel model;
  const auto take = [&](int64_t bytes) {
    arena.take({bytes}, at::kByte);
    model.take(bytes);
  };
  take(100);
  take(10 * kMib);
  const auto mark = arena.mark();
  const auto model_mark = model.mark();
  take(9 * kMib);    // the first block has no room
  take(40 * kMib);   // larger than a block
  take(3);
  EXPECT_EQ(model.peak_bytes(), arena.peak_bytes());
  EXPECT_EQ(model.reserved_bytes(), arena.bytes_reserved());
  arena.release(mark);
  model.release(model_mark);
  take(5 * kMib);
  take(60 * kMib);
  EXPECT_EQ(model.peak_bytes(), arena.peak_bytes());
  EXPECT_EQ(model.reserved_bytes(), arena.bytes_reserved());
  EXPECT_LE(model.touched_bytes(), model.reserved_bytes());
  EXPECT_GE(model.touched_bytes(), model.peak_bytes());
}

TEST(ArenaModel, ReservedLosesNothingAtTheEndsOfBlocks) {
  nn::Arena arena;
  ArenaModel model;
  arena.reserve(100 * kMib);
  model.reserve(100 * kMib);
  arena.reserve(7);  // it has a block
  for (int i = 0; i < 10; ++i) {
    arena.take({10 * kMib}, at::kByte);
    model.take(10 * kMib);
  }
  EXPECT_EQ(arena.bytes_reserved(), 100 * kMib);
  EXPECT_EQ(model.reserved_bytes(), 100 * kMib);
  arena.take({1}, at::kByte);  // more than was reserved is no error
  EXPECT_EQ(arena.bytes_reserved(), 116 * kMib);
}

TEST(ArenaModel, KnowsThePeakOfAPhase) {
  ArenaModel model;
  model.take(640);
  const auto mark = model.mark();
  model.take(6400);
  model.release(mark);
  model.start_phase();
  model.take(64);
  EXPECT_EQ(model.phase_peak_bytes(), 704);
  EXPECT_EQ(model.peak_bytes(), 7040);
}

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
  const auto levels = every_layer(model.num_hidden_layers, Recompute::kOffload);
  EXPECT_EQ(step_memory(shape, levels).offloaded_bytes, model.num_hidden_layers * 512 * model.hidden_size * 2);
  EXPECT_EQ(step_memory(shape, every_layer(2, Recompute::kLayer)).offloaded_bytes, 0);
}

}  // namespace
}  // namespace nibble::trainer
