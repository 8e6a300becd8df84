// Units: nn/token_step, nn/decoder
// Text token by token against whole passes, and against itself in other portions.
#include "nn/token_step.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <numeric>

#include "nn/decoder.h"
#include "tests/support/reference_model.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

using test::TinyBatch;
using test::TinyModelOptions;

double relative_error(const Tensor& got, const Tensor& expected) {
  const Tensor e = expected.to(at::kDouble);
  return ((got.to(at::kDouble) - e).norm() / e.norm().clamp_min(1e-30)).item<double>();
}

std::vector<TinyModelOptions> shapes() {
  TinyModelOptions plain, bias, window, quantized, norms, wide;
  bias.bias = true;
  window.window = 6;
  quantized.quantized = true;
  norms.qk_norm = true;
  norms.window = 5;
  wide.quantized = true;
  wide.hidden = 128;
  wide.intermediate = 192;
  wide.heads = 6;
  wide.kv_heads = 3;
  return {plain, bias, window, quantized, norms, wide};
}

struct Caches {
  std::vector<KvCache> layers;
  Caches(const Model& model, int64_t capacity) {
    const std::array<int64_t, 3> sizes{capacity, model.config.num_key_value_heads, model.config.head_dim};
    for (size_t l = 0; l < model.layers.size(); ++l) layers.push_back({at::empty(sizes, model.dtype), at::empty(sizes, model.dtype), 0});
  }
};

// The logits after the last of `ids`, fed in portions of these sizes, over and over.
Tensor logits_in_portions(const Model& model, std::span<const int32_t> ids, const std::vector<size_t>& portions, GemvIsa isa) {
  const auto capacity = static_cast<int64_t>(ids.size());
  const RopeTable rope = make_rope_table(model.config, capacity);
  TokenStep step(model, rope, capacity, isa);
  Caches caches(model, capacity);
  Tensor logits = at::empty({model.config.vocab_size}, at::kFloat);
  for (size_t begin = 0, i = 0; begin < ids.size(); ++i) {
    const size_t n = std::min(portions[i % portions.size()], ids.size() - begin);
    step.run(ids.subspan(begin, n), caches.layers, logits.mutable_data_ptr<float>());
    begin += n;
  }
  return logits;
}

std::vector<GemvIsa> isas() {
  std::vector<GemvIsa> all{GemvIsa::kPortable};
  if (best_gemv_isa() >= GemvIsa::kAvx512) all.push_back(GemvIsa::kAvx512);
  if (best_gemv_isa() >= GemvIsa::kAvx512Bf16) all.push_back(GemvIsa::kAvx512Bf16);
  return all;
}

TEST(TokenStep, EqualsAWholePassInFp32) {
  for (const TinyModelOptions& options : shapes()) {
    Model model = test::tiny_model(options);
    const TinyBatch batch({21}, model.config.vocab_size);
    const Tensor expected = Pass(model, 64).forward_logits(batch.view())[20];
    for (const GemvIsa isa : isas()) {
      // As the decoder's own test: fp32 sums in another order.
      EXPECT_LT(relative_error(logits_in_portions(model, batch.ids, {8, 1, 3}, isa), expected), 6e-6) << static_cast<int>(isa);
    }
  }
}

TEST(TokenStep, PortionsChangeNoBit) {
  for (TinyModelOptions options : shapes()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      options.dtype = dtype;
      const Model model = test::tiny_model(options);
      const TinyBatch batch({19}, model.config.vocab_size);
      for (const GemvIsa isa : isas()) {
        const Tensor one_by_one = logits_in_portions(model, batch.ids, {1}, isa);
        EXPECT_TRUE(at::equal(logits_in_portions(model, batch.ids, {8}, isa), one_by_one));
        EXPECT_TRUE(at::equal(logits_in_portions(model, batch.ids, {5, 2}, isa), one_by_one));
      }
    }
  }
}

TEST(TokenStep, Bfloat16IsNoWorseThanTwiceTheComposition) {
  for (TinyModelOptions options : {shapes()[0], shapes()[4]}) {
    options.dtype = at::kBFloat16;
    Model model = test::tiny_model(options);
    const TinyBatch batch({32}, model.config.vocab_size);
    const test::Factors exact = test::leaf_factors(model, at::kDouble), rounded = test::leaf_factors(model, at::kBFloat16);
    const auto logits = [&](const test::Factors& factors, at::ScalarType dtype) {
      return test::ReferenceModel(model, factors, dtype).logits(batch.ids_tensor(), batch.positions_tensor(), batch.starts)[31].to(at::kDouble);
    };
    const Tensor reference = logits(exact, at::kDouble), plain = logits(rounded, at::kBFloat16);
    for (const GemvIsa isa : isas()) {
      // Policy (c).
      EXPECT_LT(relative_error(logits_in_portions(model, batch.ids, {8}, isa), reference), 2 * relative_error(plain, reference)) << static_cast<int>(isa);
    }
  }
}

TEST(TokenStep, TakesTheHeadAsItIsStored) {
  TinyModelOptions options;
  options.hidden = 64;
  Model model = test::tiny_model(options);
  const Tensor dense = model.head.dense;
  model.head.packed = quant::quantize(dense, {});
  model.head.dense = Tensor();
  const TinyBatch batch({9}, model.config.vocab_size);
  const Tensor packed = logits_in_portions(model, batch.ids, {4}, best_gemv_isa());
  model.head.dense = quant::dequantize(model.head.packed, at::kFloat);
  model.head.packed = {};
  EXPECT_LT(relative_error(packed, logits_in_portions(model, batch.ids, {4}, best_gemv_isa())), 1e-6);  // sums of 64 products in fp32
}

// What a text says must not depend on how it was computed: greedy choices with the cache are those of whole passes.
TEST(Decoder, ChoosesWhatWholePassesChoose) {
  for (const TinyModelOptions& options : shapes()) {
    Model model = test::tiny_model(options);
    for (const size_t prompt : {size_t{1}, size_t{7}, size_t{20}}) {  // steps only, and a pass of matrix products before them
      TinyBatch batch({static_cast<int32_t>(prompt)}, model.config.vocab_size);
      std::vector<int32_t> text = batch.ids;
      Decoder decoder(model, 48);
      Tensor logits = decoder.feed(text);
      for (int i = 0; i < 16; ++i) {
        const std::span<const float> row(logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel()));
        const int32_t chosen = choose_token(row, 0.0, 0, 0);
        std::vector<int32_t> positions(text.size()), starts{0, static_cast<int32_t>(text.size())};
        std::iota(positions.begin(), positions.end(), 0);
        const Tensor whole = Pass(model, 64).forward_logits({text, {}, positions, starts});
        ASSERT_EQ(chosen, whole[static_cast<int64_t>(text.size()) - 1].argmax().item<int64_t>()) << prompt << " " << i;
        text.push_back(chosen);
        logits = decoder.feed(std::span(text).last(1));
      }
    }
  }
}

// A second turn of a chat: more tokens than a step takes, after a text.
TEST(Decoder, ContinuesATextWithALongOne) {
  const Model model = test::tiny_model(shapes()[5]);
  const TinyBatch batch({40}, model.config.vocab_size);
  const std::span<const int32_t> ids(batch.ids);
  Decoder at_once(model, 40), apart(model, 40);
  at_once.feed(ids.first(12));
  apart.feed(ids.first(12));
  const Tensor logits = at_once.feed(ids.subspan(12));
  Tensor last;
  for (size_t i = 12; i < 40; ++i) last = apart.feed(ids.subspan(i, 1));
  EXPECT_TRUE(at::equal(logits, last));
  EXPECT_EQ(at_once.length(), 40);
}

TEST(Decoder, TokensTakenBackLeaveNothing) {
  for (const TinyModelOptions& options : shapes()) {
    const Model model = test::tiny_model(options);
    const TinyBatch batch({30}, model.config.vocab_size);
    const std::span<const int32_t> ids(batch.ids);
    Decoder plain(model, 30), guessing(model, 30);
    plain.feed(ids.first(12));
    guessing.feed(ids.first(12));
    const std::vector<int32_t> wrong{3, 1, 4, 1, 5};
    guessing.feed_each(wrong);
    guessing.take_back(5);
    for (size_t i = 12; i < 30; i += 6) {
      const Tensor together = guessing.feed_each(ids.subspan(i, 6));
      for (size_t j = 0; j < 6; ++j) {
        EXPECT_TRUE(at::equal(together[static_cast<int64_t>(j)], plain.feed(ids.subspan(i + j, 1)))) << i << " " << j;
      }
    }
    EXPECT_EQ(guessing.length(), 30);
    EXPECT_THROW(guessing.feed_each(ids.first(1)), std::invalid_argument);
  }
}

TEST(ChooseToken, NeverTakesWhatIsImpossible) {
  const std::vector<float> logits{-std::numeric_limits<float>::infinity(), 0.0f, -1e30f, 0.5f};
  for (uint64_t i = 0; i < 500; ++i) {
    const int32_t token = choose_token(logits, 0.7, 3, i);
    EXPECT_TRUE(token == 1 || token == 3) << token;
    EXPECT_EQ(token, choose_token(logits, 0.7, 3, i));
  }
}

TEST(ChooseToken, TakesTheFirstOfEqualOnes) { EXPECT_EQ(choose_token(std::vector<float>{1.0f, 3.0f, 3.0f, 2.0f}, 0.0, 1, 0), 1); }

}  // namespace
}  // namespace nibble::nn
