#include "trainer/worst_step.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/rng.h"
#include "nn/lora.h"
#include "tests/support/tiny_model.h"
#include "trainer/train_step.h"
#include "trainer/training_model.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kVocab = 96;

// `count` documents of 2 to 30 tokens, each with its first labels ignored.
data::Dataset random_rows(uint64_t number, int64_t count, bool packing) {
  std::vector<data::Sample> samples;
  for (int64_t i = 0; i < count; ++i) {
    const auto draw = [&](uint64_t n) { return random_uniform({number, RngPurpose::kTest, static_cast<uint64_t>(i)}, n); };
    data::Sample sample;
    sample.ids.resize(static_cast<size_t>(2 + 28 * draw(0)));
    for (size_t t = 0; t < sample.ids.size(); ++t) sample.ids[t] = static_cast<int32_t>(kVocab * draw(10 + t));
    sample.labels = sample.ids;
    const auto ignored = static_cast<std::ptrdiff_t>(static_cast<float>(sample.ids.size() - 1) * draw(1));
    std::fill(sample.labels.begin(), sample.labels.begin() + ignored, data::kIgnoredLabel);
    samples.push_back(sample);
  }
  return data::Dataset(samples, 64, packing);
}

WorstShape shape_of(const PassBatch& pass) {
  WorstShape shape{static_cast<int64_t>(pass.ids.size()), 0, static_cast<int64_t>(pass.document_starts.size()) - 1, 0};
  for (size_t d = 0; d + 1 < pass.document_starts.size(); ++d) {
    shape.longest = std::max<int64_t>(shape.longest, pass.document_starts[d + 1] - pass.document_starts[d]);
  }
  shape.labelled = std::count_if(pass.labels.begin(), pass.labels.end(), [](int32_t label) { return label >= 0; });
  return shape;
}

void expect_within(const WorstShape& shape, const WorstShape& bound) {
  EXPECT_LE(shape.tokens, bound.tokens);
  EXPECT_LE(shape.longest, bound.longest);
  EXPECT_LE(shape.documents, bound.documents);
  EXPECT_LE(shape.labelled, bound.labelled);
}

struct Passes {
  int64_t tokens, multiple;
};
constexpr Passes kPasses[] = {{std::numeric_limits<int32_t>::max(), 1}, {64, 1}, {40, 16}, {1, 8}, {200, 64}};

TEST(WorstShape, NoPassOfAnyOrderIsLarger) {
  for (const bool packing : {false, true}) {
    for (uint64_t number = 0; number < 6; ++number) {
      const data::Dataset rows = random_rows(number, 25, packing);
      for (const int64_t per_batch : {1, 3, 100}) {
        for (const Passes& p : kPasses) {
          const WorstShape bound = worst_shape(rows, per_batch, p.tokens, p.multiple);
          EXPECT_EQ(bound.tokens % p.multiple, 0);
          data::BatchStream batches(rows, per_batch, number, /*shuffle=*/true);
          while (batches.cursor().epoch < 4) {
            for (const PassBatch& pass : passes_of(batches.next(), p.tokens, p.multiple)) {
              WorstShape shape = shape_of(pass);
              // The document that fills a pass up may be as long as the pass was; it is within the multiple.
              shape.longest = std::min(shape.longest, std::max(bound.longest, p.multiple));
              expect_within(shape, {bound.tokens, std::max(bound.longest, p.multiple), bound.documents, bound.labelled});
            }
          }
        }
      }
    }
  }
}

TEST(WorstShape, IsReachedByTheRowsWhereAllComeTogether) {
  const data::Dataset rows = random_rows(1, 9, false);
  data::BatchStream batches(rows, 9, 0, false);
  const auto all = passes_of(batches.next(), std::numeric_limits<int32_t>::max(), 1);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(worst_shape(rows, 9, std::numeric_limits<int32_t>::max(), 1), shape_of(all[0]));
  EXPECT_EQ(worst_shape(data::Dataset(), 9, 512, 64), WorstShape{});
}

TEST(WorstPass, HasTheShapeAndIsAPassThatAModelTakes) {
  const WorstShape shapes[] = {{64, 30, 5, 40}, {64, 64, 1, 63}, {1, 1, 1, 0}, {128, 3, 4, 128}, {96, 10, 96, 96}, {64, 60, 50, 3}};
  for (const WorstShape& shape : shapes) {
    const PassBatch pass = worst_pass(shape, kVocab);
    const WorstShape got = shape_of(pass);
    EXPECT_EQ(got.tokens, shape.tokens);
    EXPECT_EQ(got.longest, shape.longest);
    EXPECT_EQ(pass.positions.size(), pass.ids.size());
    EXPECT_EQ(got.labelled, std::min(shape.labelled, shape.tokens - got.documents));
    for (size_t t = 0; t < pass.ids.size(); ++t) {
      EXPECT_TRUE(pass.ids[t] >= 0 && pass.ids[t] < kVocab);
      EXPECT_LT(pass.positions[t], shape.longest);
      if (pass.positions[t] == 0) {
        EXPECT_EQ(pass.labels[t], data::kIgnoredLabel);
      }
    }
  }
  EXPECT_EQ(shape_of(worst_pass({64, 30, 5, 40}, kVocab)).documents, 5);
}

// A model with its optimizer on rows, with dropout, so that a wrong stream of masks would show.
struct Bench {
  MemoryAccount account;
  nn::Model model = test::tiny_model({});
  data::Dataset rows = random_rows(3, 12, true);
  nn::Pass pass{model, 64, {at::kCPU, {}, &account}};
  PassTeam passes{model, pass};
  optim::Optimizer optimizer{{}, with_dropout(model)};
  StopRequest stop;
  data::BatchStream batches{rows, 2, 1, true};
  StepOptions options;

  explicit Bench(Recompute recompute) {
    options.gradient_accumulation_steps = 2;
    options.pass.loss_chunk_tokens = 16;
    options.pass.recompute.assign(model.layers.size(), {recompute});
  }
  static std::vector<optim::ParamRef> with_dropout(nn::Model& model) {
    model.each_lora([](const std::string&, nn::Lora& lora) { lora.dropout = 0.2f; });
    return parameters(model);
  }
  void rehearse() {
    const WorstShape shape = worst_shape(rows, 2, options.pass_tokens, options.pass_multiple);
    make_worst_step(model, passes, optimizer, options.pass, shape, shape);
  }
  double train(int64_t step) {
    RunState state;
    state.global_step = step;
    state.micro_step = 2 * step;
    return train_step({model, passes, optimizer, batches, stop}, options, state, 1e-2)->nll;
  }
};

TEST(MakeWorstStep, LeavesEveryBitAsItWas) {
  for (const Recompute recompute : {Recompute::kNone, Recompute::kLayer}) {
    Bench plain(recompute), rehearsed(recompute);
    rehearsed.rehearse();
    EXPECT_EQ(rehearsed.batches.cursor(), (data::Cursor{0, 0}));
    EXPECT_EQ(rehearsed.optimizer.steps(), 0);
    for (int64_t step = 0; step < 3; ++step) {
      if (step == 2) rehearsed.rehearse();  // as where a run is resumed: moments are not zero
      EXPECT_EQ(plain.train(step), rehearsed.train(step)) << "step " << step;
    }
    for (size_t i = 0; i < plain.optimizer.params().size(); ++i) {
      const optim::ParamRef &a = plain.optimizer.params()[i], &b = rehearsed.optimizer.params()[i];
      EXPECT_TRUE(at::equal(a.param, b.param)) << a.name;
      EXPECT_TRUE(at::equal(a.grad, b.grad)) << a.name;
    }
  }
}

TEST(MakeWorstStep, NoLaterStepNeedsMoreForItsShape) {
  Bench bench(Recompute::kNone);
  bench.rehearse();
  const int64_t before = bench.account.peak_total(MemorySide::kHost);
  EXPECT_GT(before, 0);
  for (int64_t step = 0; step < 8; ++step) bench.train(step);
  EXPECT_EQ(bench.account.peak_total(MemorySide::kHost), before);
}

}  // namespace
}  // namespace nibble::trainer
