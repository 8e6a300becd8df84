#include "io/load_model.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "io/passing_tensor.h"
#include "io/safetensors.h"
#include "io/tensor_check.h"
#include "nn/model.h"
#include "quant/blockwise.h"
#include "tests/io/expect_error.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/golden_path.h"
#include "tests/support/golden_tensors.h"

namespace nibble::io {
namespace {

namespace fs = std::filesystem;
using test::golden_path;
using test::golden_tensors;
using test::TemporaryFolder;
using Tensors = std::map<std::string, Tensor>;

nn::Model load(const std::string& path, at::ScalarType dtype = at::kFloat, std::optional<quant::QuantConfig> quant = {}) {
  return load_model(*open_weight_source(path), {dtype, quant, {}});
}

// Two implementations of attention differ by 6e-6 here; the golden README's bound.
constexpr float kGoldenBound = 5e-5f;

// The model's logits against `logits`, and where the golden has them hidden states and loss, where attention_mask is 1.
// [B, T, ...] of the golden file against one document a row.
void expect_golden_pass(nn::Model& model, const Tensors& expected, const char* logits, bool all) {
  const Tensor ids = expected.at("input_ids"), mask = expected.at("attention_mask"), labels = expected.at("labels");
  nn::Pass pass(model, ids.size(1));
  double nll = 0;
  int64_t tokens = 0;
  for (int64_t b = 0; b < ids.size(0); ++b) {
    // A row's real tokens are one stretch: the golden pads on either side.
    std::vector<int32_t> row, row_labels, positions;
    int64_t first = -1;
    for (int64_t t = 0; t < ids.size(1); ++t) {
      if (mask[b][t].item<int64_t>() == 0) continue;
      if (first < 0) first = t;
      positions.push_back(static_cast<int32_t>(row.size()));
      row.push_back(static_cast<int32_t>(ids[b][t].item<int64_t>()));
      row_labels.push_back(static_cast<int32_t>(labels[b][t].item<int64_t>()));
    }
    const auto length = static_cast<int64_t>(row.size());
    const std::vector<int32_t> starts{0, static_cast<int32_t>(length)};
    const nn::TokenBatch batch{row, row_labels, positions, starts};
    const auto compare = [&](const Tensor& found, const char* name) {
      const Tensor reference = expected.at(name)[b].narrow(0, first, length).to(at::kFloat);
      EXPECT_LE((found - reference).abs().max().item<float>(), kGoldenBound) << name << " of row " << b;
    };
    compare(pass.forward_logits(batch), logits);
    if (!all) continue;
    const auto states = pass.forward_hidden_states(batch);
    compare(states.front(), "hidden.embed");
    for (size_t l = 0; l < model.layers.size(); ++l) compare(states[l + 1], fmt::format("hidden.layer.{}", l).c_str());
    compare(states.back(), "hidden.final_norm");
    const nn::LossSum loss = pass.forward_loss(batch, {});
    nll += loss.nll;
    tokens += loss.tokens;
  }
  if (all) {
    EXPECT_NEAR(nll / static_cast<double>(tokens), expected.at("loss").item<float>(), 1e-5);
  }
}

class LoadGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(LoadGolden, GivesTransformersHiddenStatesLogitsAndLoss) {
  const std::string folder = std::string("models/") + GetParam();
  nn::Model model = load(golden_path(folder));
  expect_golden_pass(model, golden_tensors(folder + "/expected.safetensors"), "logits", true);
}
INSTANTIATE_TEST_SUITE_P(Families, LoadGolden,
                         ::testing::Values("llama", "llama_tied", "llama_bias", "llama3_rope", "mistral_window", "qwen2", "qwen3"));

TEST(LoadModel, KeepsA4BitCheckpointAsItIs) {
  const std::string folder = "bnb_checkpoint";
  nn::Model model = load(golden_path(folder), at::kFloat, quant::QuantConfig{});
  ASSERT_TRUE(model.layers[0].q.weight.quantized());
  EXPECT_EQ(model.layers[0].q.path, "model.layers.0.self_attn.q_proj");
  const auto expected = golden_tensors(folder + "/expected.safetensors");
  // The golden's trustworthy logits are those of weights decoded to bf16 and computed with in fp32; its others went through
  // bitsandbytes' bf16 inference kernel, which is another computation.
  for (nn::Layer& layer : model.layers) {
    for (int p = 0; p < nn::kProjections; ++p) {
      nn::FrozenWeight& weight = layer.projection(static_cast<nn::Projection>(p)).weight;
      weight.dense = quant::dequantize(weight.packed, at::kBFloat16).to(at::kFloat);
      weight.packed = {};
    }
  }
  expect_golden_pass(model, expected, "logits_bf16_weights", false);
}

TEST(LoadModel, QuantizesOnTheWayAsTheQuantizerDoes) {
  const auto source = open_weight_source(golden_path("bnb_checkpoint_base"));
  int64_t calls = 0, last_total = 0;
  quant::QuantConfig config;
  config.blocksize = 128;
  const nn::Model model = load_model(*source, {at::kBFloat16, config, [&](int64_t done, int64_t total) {
                                                 EXPECT_EQ(done, ++calls);
                                                 last_total = total;
                                               }});
  EXPECT_EQ(calls, 21);
  EXPECT_EQ(last_total, 21);
  const auto expected = quant::quantize(source->read("model.layers.1.mlp.up_proj.weight"), config);
  const auto& found = model.layers[1].up.weight.packed;
  EXPECT_EQ(found.config.blocksize, 128);
  EXPECT_TRUE(at::equal(found.codes, expected.codes));
  EXPECT_EQ(model.embedding.scalar_type(), at::kBFloat16);
  EXPECT_FALSE(model.embedding.is_alias_of(source->read("model.embed_tokens.weight")));
}

TEST(LoadModel, DecodesA4BitCheckpointWhereDenseWeightsAreWanted) {
  const nn::Model model = load(golden_path("bnb_checkpoint"), at::kFloat);
  const auto expected = golden_tensors("bnb_checkpoint/expected.safetensors");
  EXPECT_TRUE(at::equal(model.layers[0].down.weight.dense, expected.at("model.layers.0.mlp.down_proj.weight.f32")));
}

TEST(LoadModel, LoadsGgufAndSharesATiedHead) {
  const TemporaryFolder folder;
  test::TinyGguf o;
  o.arch = "qwen2";
  o.bias = true;
  o.layers = 2;
  test::tiny_gguf(o).write(folder / "a.gguf");
  const nn::Model model = load((folder / "a.gguf").string());
  EXPECT_TRUE(model.head.dense.is_same(model.embedding));
  EXPECT_TRUE(model.layers[1].q.bias.defined());
  EXPECT_FALSE(model.layers[1].o.bias.defined());
  EXPECT_EQ(model.embedding[3][2].item<float>(), 3.0f + 2.0f / 64);
}

// Writes the llama golden again with one weight changed.
void put_changed(const fs::path& folder, const std::string& name, const std::function<Tensor(Tensor)>& change,
                 const std::string& rename = "") {
  fs::create_directories(folder);
  fs::copy(golden_path("models/llama/config.json"), folder / "config.json", fs::copy_options::overwrite_existing);
  SafetensorsPlan plan;
  std::vector<Tensor> data;
  for (auto [key, tensor] : golden_tensors("models/llama/model.safetensors")) {
    if (key == name) tensor = change(tensor.clone()).contiguous();
    if (!tensor.defined()) continue;
    plan.tensors.push_back({key == name && !rename.empty() ? rename : key, DType::kF32, tensor.sizes().vec()});
    data.push_back(tensor);
  }
  SafetensorsWriter writer(folder / "model.safetensors", plan);
  for (size_t i = 0; i < data.size(); ++i) {
    writer.write(plan.tensors[i].name, {static_cast<const std::byte*>(data[i].const_data_ptr()), data[i].nbytes()});
  }
  writer.close();
}

TEST(LoadModel, NamesTheWeightThatIsWrong) {
  const TemporaryFolder folder;
  const std::string up = "model.layers.1.mlp.up_proj.weight";
  const auto same = [](Tensor t) { return t; };
  put_changed(folder.path(), up, [](Tensor t) { return t.narrow(0, 0, 100); });
  EXPECT_ERROR(load(folder.path().string()), "FormatError", "'" + up + "' has shape [100, 64], but the configuration calls for [128, 64]");
  put_changed(folder.path(), up, [](Tensor t) { return t.flatten(); });
  EXPECT_ERROR(load(folder.path().string()), "FormatError", "has shape [8192]");
  put_changed(folder.path(), up, [](Tensor t) { t[3][5] = NAN; return t; });
  EXPECT_ERROR(load(folder.path().string()), "FormatError", "'" + up + "' is nan at index 197");
  EXPECT_ERROR(load(folder.path().string(), at::kBFloat16, quant::QuantConfig{}), "FormatError", "is nan at index 197");
  put_changed(folder.path(), "model.norm.weight", [](Tensor t) { t[0] = -INFINITY; return t; });
  EXPECT_ERROR(load(folder.path().string()), "FormatError", "'model.norm.weight' is -inf at index 0");
  put_changed(folder.path(), up, [](Tensor) { return Tensor(); });
  EXPECT_ERROR(load(folder.path().string()), "FormatError", "holds no weight '" + up + "'");
  put_changed(folder.path(), "lm_head.weight", same, "model.layers.0.self_attn.q_proj.bias");
  EXPECT_ERROR(load(folder.path().string()), "FormatError", "holds no weight 'lm_head.weight'");
}

TEST(LoadModel, RefusesAWeightThatHasNoPlaceInTheModel) {
  const TemporaryFolder folder;
  fs::copy(golden_path("models/llama_bias"), folder / "m");
  std::string text = test::file_bytes(folder / "m/config.json");
  text.replace(text.find("\"attention_bias\": true"), 22, "\"attention_bias\": false");
  test::put_file(folder / "m/config.json", text);
  EXPECT_ERROR(load((folder / "m").string()), "FormatError", "_proj.bias' has no place in a llama model");
}

TEST(PassingTensor, CanBeWrittenAndOutlivesItsViews) {
  Tensor t = passing_tensor({3, 5000}, at::kBFloat16);
  t.fill_(2);
  const Tensor view = t[2];
  t = Tensor();
  EXPECT_TRUE(at::equal(view, at::full({5000}, 2, at::kBFloat16)));
  EXPECT_EQ(passing_tensor({0, 4}, at::kFloat).numel(), 0);
}

TEST(FirstNonFinite, FindsTheFirstInEveryDtype) {
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    Tensor t = at::ones({3000000}, dtype);
    EXPECT_EQ(first_non_finite(t), std::nullopt);
    t[2999999] = INFINITY;
    EXPECT_EQ(first_non_finite(t), 2999999);
    t[17] = NAN;
    EXPECT_EQ(first_non_finite(t), 17);
  }
  EXPECT_EQ(first_non_finite(at::empty({0})), std::nullopt);
  EXPECT_THROW(first_non_finite(at::ones({2}, at::kDouble)), std::logic_error);
  EXPECT_THROW(first_non_finite(at::ones({2, 3}).t()), std::logic_error);
}

}  // namespace
}  // namespace nibble::io
