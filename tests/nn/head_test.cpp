// Units: nn/head, nn/loss
#include "nn/head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "nn/loss.h"
#include "quant/blockwise.h"
#include "tests/support/reference_model.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

// Values without a pattern that panels could share; random ones take long for a head of several panels.
FrozenWeight packed_head(int64_t vocab, int64_t width, const quant::QuantConfig& config) {
  FrozenWeight head;
  head.packed = quant::quantize(at::arange(vocab * width, at::kFloat).mul(0.7071f).sin().mul(0.2f).view({vocab, width}), config);
  return head;
}

TEST(HeadPanel, IsThoseRowsOfTheWholeHead) {
  for (const quant::QuantConfig& config : {quant::QuantConfig{}, quant::QuantConfig{QuantType::kFp4, 128, false}}) {
    // 48 wide: a group of scales begins every 1,024 or 2,048 rows.
    const FrozenWeight head = packed_head(5000, 48, config);
    const Tensor whole = quant::dequantize(head.packed, at::kFloat);
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 5000}, {2048, 4096}, {4096, 5000}, {2048, 2049}}) {
      const quant::QuantizedWeight panel = head_panel(head.packed, begin, end);
      EXPECT_NO_THROW(quant::validate(panel));
      EXPECT_TRUE(at::equal(quant::dequantize(panel, at::kFloat), whole.narrow(0, begin, end - begin))) << begin;
    }
    EXPECT_THROW(head_panel(head.packed, 100, 200), std::logic_error);
    EXPECT_THROW(head_panel(head.packed, 4096, 5001), std::logic_error);
  }
}

TEST(HeadPanelRows, AreAligned32MiBOrAll) {
  EXPECT_EQ(head_panel_rows(packed_head(300, 48, {}).packed), 300);
  quant::QuantizedWeight large;  // sizes alone
  large.out = 128256;
  large.in = 4096;
  EXPECT_EQ(head_panel_rows(large), 4096);
  large.in = 5120;
  EXPECT_EQ(head_panel_rows(large) * large.in % (64 * 256), 0);
  EXPECT_LE(head_panel_rows(large) * large.in, int64_t{16} << 20);
  large.in = 4097;  // odd: only every 16,384th row begins a group
  EXPECT_EQ(head_panel_rows(large), 16384);
}

TEST(Head, FourBitsHaveTheProductsOfTheDecodedHead) {
  // Three panels, the last one short.
  const int64_t vocab = 4040, width = 8192 + 512;
  const FrozenWeight head = packed_head(vocab, width, {});
  ASSERT_EQ((vocab - 1) / head_panel_rows(head.packed), 2);
  FrozenWeight dense;
  dense.dense = quant::dequantize(head.packed, at::kFloat);
  Workspace ws;
  const Tensor x = test::random_tensor({3, width}, 5), dlogits = test::random_tensor({3, vocab}, 6, 0.01);
  Tensor logits = at::empty({3, vocab}), expected = at::empty_like(logits);
  head_logits(head, x, logits, ws);
  head_logits(dense, x, expected, ws);
  // (b) sums over the width or the vocabulary in another order.
  const auto bound = [](const Tensor& a, const Tensor& b, int64_t n) {
    return std::sqrt(static_cast<double>(n)) * std::numeric_limits<float>::epsilon() * at::mm(a.abs(), b.abs()).max().item<double>();
  };
  EXPECT_LE((logits - expected).abs().max().item<double>(), bound(x, dense.dense.t(), width));
  Tensor dx = at::empty({3, width}), expected_dx = at::empty_like(dx);
  head_backward(head, dlogits, dx, ws);
  head_backward(dense, dlogits, expected_dx, ws);
  EXPECT_LE((dx - expected_dx).abs().max().item<double>(), bound(dlogits, dense.dense, vocab));
  EXPECT_EQ(ws.scratch.mark().used, 0);
}

TEST(Head, RefusesOtherShapes) {
  const FrozenWeight head = packed_head(96, 48, {});
  Workspace ws;
  EXPECT_ANY_THROW(head_logits(head, at::zeros({2, 47}), at::zeros({2, 96}), ws));
  EXPECT_ANY_THROW(head_backward(head, at::zeros({2, 95}), at::zeros({2, 48}), ws));
}

// The whole model through a 4-bit head: the same loss and gradients for every chunk, and those of the decoded head.
TEST(Head, TrainsThroughFourBits) {
  const auto run = [](bool packed, int64_t chunk) {
    Model model = test::tiny_model({});
    const quant::QuantizedWeight q = quant::quantize(model.head.dense, {});
    model.head = {};
    if (packed) model.head.packed = q; else model.head.dense = quant::dequantize(q, model.dtype);
    Pass pass(model, 64);
    PassOptions options;
    options.loss_chunk_tokens = chunk;
    const test::TinyBatch batch({9, 17}, 96);
    const double nll = pass.forward_backward(batch.view(), options).nll;
    EXPECT_EQ(pass.forward_loss(batch.view(), options).nll, nll);
    EXPECT_EQ(pass.forward_logits(batch.view()).sizes(), (std::vector<int64_t>{26, 96}));
    return std::pair(nll, model.layers[0].q.lora->da.clone());
  };
  const auto dense = run(false, 256), packed = run(true, 256), chunked = run(true, 3);
  EXPECT_EQ(packed.first, dense.first);  // one panel: the same product
  EXPECT_TRUE(at::equal(packed.second, dense.second));
  // (b) 18 losses added up through chunks of other sizes, products of other shapes.
  EXPECT_NEAR(chunked.first, dense.first, std::sqrt(18.0 * 48.0) * std::numeric_limits<float>::epsilon() * dense.first);
}

}  // namespace
}  // namespace nibble::nn
