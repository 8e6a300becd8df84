// Guards speed without a clock: rates of the hot loops as shares of what LibTorch's product and a plain copy reach in the same
// seconds on the same machine. Floors are about half of what was measured, so that other work on the machine does not matter and a
// lost vector path or a copy too many does.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <iostream>

#include "nn/gemv.h"
#include "nn/model.h"
#include "quant/blockwise.h"
#include "quant/blockwise_cpu.h"
#include "tests/support/tiny_model.h"

namespace nibble {
namespace {

// One thread: how many there are is no matter of a share, and threads that wait for each other on a busy machine are.
struct OneThread {
  int before = at::get_num_threads();
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before); }
};

template <class Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Bytes read and written a second by a copy.
double copy_rate() {
  constexpr int64_t kBytes = int64_t{32} << 20;
  static const Tensor from = at::ones({kBytes}, at::kByte), to = at::zeros({kBytes}, at::kByte);
  return 2.0 * kBytes / seconds_of([] { std::memcpy(to.mutable_data_ptr(), from.const_data_ptr(), kBytes); });
}

// Operations a second of x W^T at the width of the model below.
double product_rate() {
  constexpr int64_t kTokens = 512, kOut = 1536, kIn = 576;
  static const Tensor x = at::randn({kTokens, kIn}).to(at::kBFloat16), w = at::randn({kOut, kIn}).to(at::kBFloat16);
  static Tensor y = at::empty({kTokens, kOut}, at::kBFloat16);
  constexpr int kRepeats = 8;
  return 2.0 * kTokens * kOut * kIn * kRepeats / seconds_of([] {
           for (int i = 0; i < kRepeats; ++i) at::mm_out(y, x, w.t());
         });
}

test::TinyModelOptions small_llama() {
  test::TinyModelOptions o;
  o.dtype = at::kBFloat16;
  o.quantized = true;
  o.layers = 4;
  o.hidden = 576;
  o.intermediate = 1536;
  o.heads = 9;
  o.kv_heads = 3;
  o.head_dim = 64;
  o.vocab = 4096;
  o.r = 16;
  return o;
}

// The two take turns, and the best turn counts: what disturbs one of them only can hide a loss for once, never make one up.
template <class Rate, class Limit>
void expect_share(const char* what, const Rate& rate, const Limit& limit, double floor) {
  constexpr int kTurns = 12;
  rate(), limit();
  double best = 0;
  for (int i = 0; i < kTurns; ++i) {
    const double reached = limit();
    best = std::max(best, rate() / reached);
  }
  std::cout << fmt::format("{}: {:.2f} of the limit, floor {:.2f}\n", what, best, floor);
  EXPECT_GT(best, floor) << what;
}

bool has_vectors() { return nn::best_gemv_isa() == nn::GemvIsa::kAvx512Bf16; }

TEST(CpuRates, TrainingStepAgainstProducts) {
  const OneThread scope;
  nn::Model model = test::tiny_model(small_llama());
  const test::TinyBatch batch({512}, model.config.vocab_size);
  nn::Pass pass(model, 512);
  const nn::ModelConfig& c = model.config;
  const auto linears = static_cast<double>(c.num_hidden_layers * (c.hidden_size * 2 * (c.q_width() + c.kv_width()) + 3 * c.hidden_size * c.intermediate_size));
  const auto head = static_cast<double>(c.vocab_size * c.hidden_size);
  // Forward and to the inputs; the head on labelled rows only, two thirds of them.
  const double operations = 512 * 4 * (linears + head * 2 / 3);
  const auto step = [&] { return operations / seconds_of([&] { pass.forward_backward(batch.view(), {}); }); };
  // Without instructions for bf16, products are a library's emulation and attention is composed.
  expect_share("training step", step, product_rate, has_vectors() ? 0.25 : 0.05);
}

TEST(CpuRates, ProductsWithOneTokenAgainstACopy) {
  const OneThread scope;
  const quant::QuantizedWeight q = quant::quantize(test::random_tensor({8192, 2048}, 1, 0.02).to(at::kBFloat16), {});
  nn::FrozenWeight weight;
  weight.packed = q;
  const nn::GemvLinear linear(weight);
  const Tensor x = at::randn({1, 2048}).to(at::kBFloat16), arranged = at::empty({nn::arranged_bytes(1, 2048)}, at::kByte);
  const Tensor sums = at::empty({8192}, at::kFloat);
  const auto* data = static_cast<const uint16_t*>(x.const_data_ptr());
  const nn::GemvIsa isa = nn::best_gemv_isa();
  nn::arrange_cpu(data, 1, 2048, isa, arranged.mutable_data_ptr());
  const nn::GemvInput<uint16_t> input{data, arranged.const_data_ptr(), 1, 2048};
  constexpr int kRepeats = 4;
  const auto products = [&] {
    return static_cast<double>(q.bytes()) * kRepeats / seconds_of([&] {
             for (int i = 0; i < kRepeats; ++i) linear.sum_rows<uint16_t>(input, nullptr, 0, 8192, sums.mutable_data_ptr<float>(), 8192, isa);
           });
  };
  expect_share("bytes of a 4-bit weight read by a product with one token", products, copy_rate, has_vectors() ? 0.25 : 0.01);
}

TEST(CpuRates, QuantizingAgainstACopy) {
  const OneThread scope;
  const Tensor weight = test::random_tensor({4096, 2048}, 1, 0.02).to(at::kBFloat16);
  const auto quantize = [&] { return static_cast<double>(weight.nbytes()) / seconds_of([&] { EXPECT_TRUE(quant::quantize(weight, {}).defined()); }); };
  expect_share("bf16 bytes quantized", quantize, copy_rate, quant::best_isa() == quant::Isa::kAvx512 ? 0.12 : 0.01);
}

}  // namespace
}  // namespace nibble
