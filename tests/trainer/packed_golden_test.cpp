// Units: nn/model io/load_model trainer/token_batch
// Three documents in one row against transformers (tests/golden/packed): documents do not see each other.
#include <gtest/gtest.h>

#include "io/load_model.h"
#include "nn/model.h"
#include "tests/support/golden_path.h"
#include "tests/support/golden_tensors.h"

namespace nibble::trainer {
namespace {

class PackedGolden : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Families, PackedGolden, testing::Values("llama", "qwen3"), [](const auto& info) { return info.param; });

std::vector<int32_t> values(const Tensor& t) {
  const Tensor flat = t.flatten().to(at::kInt).contiguous();
  return {flat.data_ptr<int32_t>(), flat.data_ptr<int32_t>() + flat.numel()};
}

TEST_P(PackedGolden, GivesTransformersLogitsAndLoss) {
  const std::string name = GetParam();
  const auto expected = test::golden_tensors("packed/" + name + ".safetensors");
  nn::Model model = io::load_model(*io::open_weight_source(test::golden_path("models/" + name)), {.dtype = at::kFloat, .quant = {}, .progress = {}});
  const auto ids = values(expected.at("input_ids")), positions = values(expected.at("position_ids")), starts = values(expected.at("cu_seqlens"));
  auto labels = values(expected.at("labels"));
  ASSERT_EQ(starts.size(), 4u);
  nn::Pass pass(model, static_cast<int64_t>(ids.size()));
  const nn::TokenBatch batch{ids, labels, positions, starts};
  // Literal (a golden's own bound): two implementations of attention differ by 6e-6 here.
  EXPECT_LE((pass.forward_logits(batch) - expected.at("logits")[0]).abs().max().item<float>(), 5e-5f);
  const nn::LossSum loss = pass.forward_loss(batch, {});
  EXPECT_NEAR(loss.nll / static_cast<double>(loss.tokens), expected.at("loss").item<float>(), 1e-5);
}

}  // namespace
}  // namespace nibble::trainer
