// Units: trainer/train_step optim/optimizer optim/schedule nn/loss
// Twelve steps of LoRA training in fp32 against PEFT and torch: loss, gradient norm, learning rate, the first gradient and
// the adapter at the end (tests/golden/lora, policy (e)).
#include <gtest/gtest.h>

#include "io/load_model.h"
#include "nn/lora.h"
#include "nn/loss.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "tests/support/golden_tensors.h"

namespace nibble::trainer {
namespace {

using Tensors = std::map<std::string, Tensor>;

std::string golden(const std::string& relative) { return std::string(NIBBLE_GOLDEN_DIR) + "/" + relative; }

// Right-padded rows as documents without padding.
struct Rows {
  std::vector<int32_t> ids, labels, positions, starts{0};

  void add(const Tensor& row_ids, const Tensor& mask, const Tensor& row_labels) {
    const int64_t n = mask.sum().item<int64_t>();
    for (int64_t i = 0; i < n; ++i) {
      ids.push_back(static_cast<int32_t>(row_ids[i].item<int64_t>()));
      labels.push_back(static_cast<int32_t>(row_labels[i].item<int64_t>()));
      positions.push_back(static_cast<int32_t>(i));
    }
    starts.push_back(static_cast<int32_t>(ids.size()));
  }
  nn::TokenBatch view() const { return {ids, labels, positions, starts}; }
};

Rows batch_rows(const Tensors& batches, int64_t b) {
  Rows rows;
  for (int64_t r = 0; r < 4; ++r) rows.add(batches.at("input_ids")[b][r], batches.at("attention_mask")[b][r], batches.at("labels")[b][r]);
  return rows;
}

struct Curve {
  std::string name;
  std::string trace;
  bool quantized;
  bool rslora;
  int64_t micro_batches, warmup;
  double max_grad_norm;
};
void PrintTo(const Curve& c, std::ostream* out) { *out << c.name; }

class LoraCurve : public testing::TestWithParam<Curve> {};
INSTANTIATE_TEST_SUITE_P(Golden, LoraCurve,
                         testing::Values(Curve{"fp32", "lora/fp32/trace", false, false, 1, 3, 1.0},
                                         Curve{"fp32_rslora", "lora/fp32_rslora/trace", false, true, 1, 3, 1.0},
                                         Curve{"nf4", "lora/nf4/trace", true, false, 1, 3, 1.0},
                                         Curve{"nf4_rslora", "lora/nf4_rslora/trace", true, true, 1, 3, 1.0},
                                         Curve{"accumulation", "lora/accumulation/token_mean", false, false, 4, 0, 3.0}),
                         [](const auto& info) { return info.param.name; });

TEST_P(LoraCurve, EqualsPeft) {
  const Curve& curve = GetParam();
  const Tensors trace = test::golden_tensors(curve.trace + ".safetensors"), batches = test::golden_tensors("lora/batches.safetensors");
  const auto source = io::open_weight_source(golden(curve.quantized ? "lora/base_nf4" : "models/llama"));
  nn::Model model = io::load_model(*source, {.dtype = at::kFloat, .quant = curve.quantized ? std::optional(quant::QuantConfig{}) : std::nullopt, .progress = {}});
  nn::LoraConfig lora;
  lora.r = 8;
  lora.alpha = 16;
  lora.use_rslora = curve.rslora;
  nn::attach_lora(model, lora, 0);
  const auto name = [](const char* kind, const std::string& path, const char* factor) {
    return std::string(kind) + ".base_model.model." + path + ".lora_" + factor + ".weight";
  };
  std::vector<optim::ParamRef> params;
  model.each_lora([&](const std::string& path, nn::Lora& l) {
    l.a.copy_(trace.at(name("init", path, "A")));
    l.b.copy_(trace.at(name("init", path, "B")));
    params.push_back({path + ".lora_A.weight", l.a, l.da});
    params.push_back({path + ".lora_B.weight", l.b, l.db});
  });
  optim::Optimizer optimizer({0.9, 0.999, 1e-8, 0.01}, params);
  nn::Pass pass(model, 128);

  const int64_t steps = trace.at("loss").size(0);
  for (int64_t step = 0; step < steps; ++step) {
    nn::zero_gradients(model);
    nn::LossSum sum;
    for (int64_t m = 0; m < curve.micro_batches; ++m) {
      const Rows rows = batch_rows(batches, step * curve.micro_batches + m);
      const nn::LossSum part = pass.forward_backward(rows.view(), {});
      sum.nll += part.nll;
      sum.tokens += part.tokens;
    }
    const double loss = trace.at("loss")[step].item<double>(), norm = trace.at("grad_norm")[step].item<double>();
    const double lr = 1e-3 * optim::schedule_factor({Schedule::kCosine, curve.warmup, steps}, step);
    EXPECT_NEAR(sum.nll / static_cast<double>(sum.tokens), loss, 1e-5) << "step " << step;
    EXPECT_NEAR(lr, trace.at("lr")[step].item<double>(), 1e-5 * lr + 1e-18) << "step " << step;
    if (step == 0) {
      model.each_lora([&](const std::string& path, nn::Lora& l) {
        const double tokens = static_cast<double>(sum.tokens);
        EXPECT_LT((l.da / tokens - trace.at(name("grad1", path, "A"))).abs().max().item<double>(), 5e-6) << path;
        EXPECT_LT((l.db / tokens - trace.at(name("grad1", path, "B"))).abs().max().item<double>(), 5e-6) << path;
      });
    }
    optimizer.step(lr, sum.tokens, curve.max_grad_norm);
    EXPECT_NEAR(optimizer.outcome().grad_norm, norm, 1e-5 * norm) << "step " << step;
  }
  if (curve.name == "accumulation") {
    model.each_lora([&](const std::string& path, nn::Lora& l) {
      EXPECT_LT((l.a - trace.at(name("final", path, "A"))).abs().max().item<double>(), 2e-6) << path;
      EXPECT_LT((l.b - trace.at(name("final", path, "B"))).abs().max().item<double>(), 2e-6) << path;
    });
    return;
  }
  const Tensors adapter = test::golden_tensors("lora/" + curve.name + "/adapter/adapter_model.safetensors");
  model.each_lora([&](const std::string& path, nn::Lora& l) {
    for (const char* factor : {"A", "B"}) {
      const Tensor& got = *factor == 'A' ? l.a : l.b;
      const Tensor expected = adapter.at("base_model.model." + path + ".lora_" + factor + ".weight");
      EXPECT_LT(((got - expected).norm() / expected.norm()).item<double>(), 1e-4) << path << " " << factor;
    }
  });
  Rows rows;
  for (int64_t r = 0; r < 2; ++r) rows.add(batches.at("input_ids")[0][r], at::ones({32}), batches.at("labels")[0][r]);
  const Tensor logits = pass.forward_logits(rows.view()).view({2, 32, -1});
  EXPECT_LT((logits - trace.at("logits_after")).abs().max().item<double>(), 5e-5);
}

}  // namespace
}  // namespace nibble::trainer
