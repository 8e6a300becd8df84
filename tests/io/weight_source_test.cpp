// Units: io/hf_source, io/weights_from_gguf, io/bnb, io/weight_source.
#include "io/weight_source.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/gguf_model.h"
#include "io/safetensors.h"
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
using test::put_file;
using test::TemporaryFolder;

void copy_golden(const std::string& name, const fs::path& to) {
  fs::copy(golden_path(name), to, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
}

void replace_in(const fs::path& path, const std::string& from, const std::string& to) {
  std::string text = test::file_bytes(path);
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  put_file(path, text.replace(at, from.size(), to));
}

// Writes a safetensors file of these tensors.
void put_tensors(const fs::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors) {
  SafetensorsPlan plan;
  for (const auto& [name, t] : tensors) {
    plan.tensors.push_back({name, t.scalar_type() == at::kFloat ? DType::kF32 : DType::kBF16, t.sizes().vec()});
  }
  SafetensorsWriter writer(path, plan);
  for (const auto& [name, t] : tensors) {
    const Tensor c = t.contiguous();
    writer.write(name, {static_cast<const std::byte*>(c.const_data_ptr()), c.nbytes()});
  }
  writer.close();
}

TEST(HfSource, GivesEveryWeightAsItIs) {
  const auto source = open_weight_source(golden_path("models/qwen2"));
  EXPECT_EQ(source->config().family, nn::Family::kQwen2);
  EXPECT_EQ(source->names().size(), 27u);
  for (const char* shard : {"model-00001-of-00003", "model-00002-of-00003", "model-00003-of-00003"}) {
    for (const auto& [name, expected] : golden_tensors(std::string("models/qwen2/") + shard + ".safetensors")) {
      ASSERT_TRUE(source->has(name));
      EXPECT_TRUE(at::equal(source->read(name), expected)) << name;
      source->drop(name);
      EXPECT_EQ(source->shape(name), expected.sizes().vec());
    }
  }
  EXPECT_EQ(source->gguf(), nullptr);
  EXPECT_ERROR(source->read("model.layers.7.x"), "FormatError", "holds no weight 'model.layers.7.x'");
  ASSERT_EQ(source->tokenizer_files().size(), 1u);
  EXPECT_EQ(source->tokenizer_files()[0].filename(), "generation_config.json");
}

TEST(HfSource, FingerprintFollowsTheContentNotThePlace) {
  const TemporaryFolder folder;
  copy_golden("models/llama", folder / "a");
  const auto print = [](const fs::path& path) { return open_weight_source(path.string())->fingerprint(); };
  EXPECT_EQ(print(folder / "a"), print(golden_path("models/llama")));
  EXPECT_NE(print(folder / "a"), print(golden_path("models/llama_tied")));
  replace_in(folder / "a/config.json", "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 1e-05");
  EXPECT_NE(print(folder / "a"), print(golden_path("models/llama")));
}

TEST(HfSource, AcceptsNestedNamesAndForgetsTables) {
  EXPECT_EQ(canonical_weight_name("model.language_model.layers.0.x"), "model.layers.0.x");
  EXPECT_EQ(canonical_weight_name("language_model.model.norm.weight"), "model.norm.weight");
  EXPECT_EQ(canonical_weight_name("language_model.lm_head.weight"), "lm_head.weight");
  EXPECT_EQ(canonical_weight_name("model.norm.weight"), "model.norm.weight");
  const TemporaryFolder folder;
  fs::copy(golden_path("models/llama/config.json"), folder / "config.json");
  const Tensor t = at::ones({2}, at::kFloat);
  put_tensors(folder / "model.safetensors", {{"model.language_model.norm.weight", t}, {"model.layers.0.self_attn.rotary_emb.inv_freq", t}});
  const auto source = open_weight_source(folder.path().string());
  EXPECT_EQ(source->names(), (std::vector<std::string>{"model.norm.weight"}));
  EXPECT_EQ(source->stored_name("model.norm.weight"), "model.language_model.norm.weight");
  put_tensors(folder / "model.safetensors", {{"model.language_model.norm.weight", t}, {"model.norm.weight", t}});
  EXPECT_ERROR(open_weight_source(folder.path().string()), "FormatError", "under two names");
}

TEST(HfSource, ReadsUnalignedValuesAndRefusesOtherDtypes) {
  const TemporaryFolder folder;
  fs::copy(golden_path("models/llama/config.json"), folder / "config.json");
  SafetensorsPlan plan;
  plan.tensors = {{"byte", DType::kU8, {1}}, {"model.norm.weight", DType::kF32, {2}}, {"f8", DType::kF8E4M3, {1}}};
  SafetensorsWriter writer(folder / "model.safetensors", plan);
  const float values[2] = {1.5f, -2};
  const std::byte byte{1};
  writer.write("byte", std::span(&byte, 1));
  writer.write("model.norm.weight", std::as_bytes(std::span(values)));
  writer.write("f8", std::span(&byte, 1));
  writer.close();
  const auto source = open_weight_source(folder.path().string());
  EXPECT_TRUE(at::equal(source->read("model.norm.weight"), at::tensor({1.5f, -2.0f})));
  EXPECT_ERROR(source->read("f8"), "FormatError", "weight 'f8' is stored as F8_E4M3");
}

TEST(BnbCheckpoint, DecodesBitForBit) {
  const auto source = open_weight_source(golden_path("bnb_checkpoint"));
  const auto expected = golden_tensors("bnb_checkpoint/expected.safetensors");
  int compared = 0;
  for (const std::string& name : source->names()) {
    if (!source->is_packed(name)) continue;
    const quant::QuantizedWeight q = source->read_packed(name);
    EXPECT_EQ(source->shape(name), (std::vector<int64_t>{q.out, q.in}));
    EXPECT_TRUE(q.config.double_quant);
    if (name.starts_with("model.layers.0.")) {  // of layer 1 the golden has bf16 only
      EXPECT_TRUE(at::equal(quant::dequantize(q, at::kFloat).view(at::kInt), expected.at(name + ".f32").view(at::kInt))) << name;
    }
    EXPECT_TRUE(at::equal(source->read(name).view(at::kShort), expected.at(name + ".bf16").view(at::kShort))) << name;
    source->drop(name);
    ++compared;
  }
  EXPECT_EQ(compared, 14);
  EXPECT_EQ(source->names().size(), 21u);
}

TEST(BnbCheckpoint, RefusesWhatItDoesNotRead) {
  const TemporaryFolder folder;
  const auto expect = [&](const char* from, const char* to, const char* cls, const char* message) {
    copy_golden("bnb_checkpoint", folder / "a");
    replace_in(folder / "a/config.json", from, to);
    const std::string what = test::thrown([&] { open_weight_source((folder / "a").string()); });
    EXPECT_THAT(what, ::testing::StartsWith(cls));
    EXPECT_THAT(what, ::testing::HasSubstr(message));
  };
  expect("\"bnb_4bit_quant_storage\": \"uint8\"", "\"bnb_4bit_quant_storage\": \"bfloat16\"", "ConfigError", "stored as \"bfloat16\"");
  expect("\"quant_method\": \"bitsandbytes\"", "\"quant_method\": \"gptq\"", "ConfigError", "quantized with \"gptq\"");
  expect("\"quantization_config\"", "\"x\"", "FormatError", "no quantization_config");
}

TEST(BnbCheckpoint, ChecksEveryPartOfAWeight) {
  const TemporaryFolder folder;
  const std::string name = "model.layers.0.mlp.down_proj.weight";
  const auto expect = [&](const std::string& from, const std::string& to, const char* message) {
    copy_golden("bnb_checkpoint", folder / "a");
    ASSERT_EQ(from.size(), to.size());
    replace_in(folder / "a/model.safetensors", from, to);
    EXPECT_ERROR(open_weight_source((folder / "a").string())->read_packed(name), "FormatError", message);
  };
  expect("\"" + name + ".nested_absmax\"", "\"" + name + ".nested_absmaX\"", ".nested_absmax' is missing");
  expect("\"" + name + ".quant_map\"", "\"" + name + ".quant_maP\"", ".quant_map' is missing");
  expect("\"blocksize\": 64", "\"blocksize\": 60", "blocksize 60");
  expect("\"blocksize\": 64", "\"blocksize\": 32", "absmax");
  expect("\"shape\": [64, 128]", "\"shape\": [64, 129]", "expected U8 of");
  expect("\"shape\": [64, 128]", "\"shape\": [64, -12]", "size -12");
  expect("\"nested_blocksize\": 256", "\"nested_blocksize\": 128", "nested_blocksize is 128");
  expect("\"quant_type\": \"nf4\"", "\"quant_type\": \"fp4\"", "contradicts");
  const float one = 1.0f, two = 0.5f;  // the last entry of a codebook
  copy_golden("bnb_checkpoint", folder / "a");
  const SafetensorsFile file(folder / "a/model.safetensors");
  const auto& entry = file.at(name + ".quant_map");
  std::string bytes = test::file_bytes(folder / "a/model.safetensors");
  ASSERT_EQ(std::memcmp(bytes.data() + entry.begin + 60, &one, 4), 0);
  std::memcpy(bytes.data() + entry.begin + 60, &two, 4);
  put_file(folder / "a/model.safetensors", bytes);
  EXPECT_ERROR(open_weight_source((folder / "a").string())->read_packed(name), "FormatError", "not bitsandbytes' table");
}

TEST(GgufModel, ReadsTheConfiguration) {
  const TemporaryFolder folder;
  test::tiny_gguf().write(folder / "a.gguf");
  const auto c = gguf_model_config(GgufFile(folder / "a.gguf"));
  EXPECT_EQ(c.family, nn::Family::kLlama);
  EXPECT_EQ(c.vocab_size, 12);
  EXPECT_EQ(c.head_dim, 4);
  EXPECT_EQ(c.num_key_value_heads, 1);
  EXPECT_EQ(c.rms_norm_eps, 1e-5);
  EXPECT_EQ(c.rope_theta, 50000.0);
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_EQ(c.eos_token_ids, (std::vector<int64_t>{1}));
  test::TinyGguf qwen;
  qwen.arch = "qwen3";
  qwen.tied = false;
  qwen.qk_norm = true;
  test::tiny_gguf(qwen).write(folder / "a.gguf");
  EXPECT_TRUE(gguf_model_config(GgufFile(folder / "a.gguf")).qk_norm);
  EXPECT_FALSE(gguf_model_config(GgufFile(folder / "a.gguf")).tie_word_embeddings);
}

TEST(GgufModel, RefusesWhatItDoesNotTrain) {
  const TemporaryFolder folder;
  const auto expect = [&](auto change, const char* cls, const char* message) {
    test::GgufWriter w = test::tiny_gguf();
    change(w);
    w.write(folder / "a.gguf");
    const std::string what = test::thrown([&] { open_weight_source((folder / "a.gguf").string()); });
    EXPECT_THAT(what, ::testing::StartsWith(cls));
    EXPECT_THAT(what, ::testing::HasSubstr(message));
  };
  expect([](auto& w) { w.u32("llama.expert_count", 8); }, "ConfigError", "mixture of experts");
  expect([](auto& w) { w.string("llama.rope.scaling.type", "yarn"); }, "ConfigError", "rotary scaling 'yarn'");
  expect([](auto& w) { w.u32("llama.rope.dimension_count", 2); }, "ConfigError", "rotates 2 of each head's 4");
  expect([](auto& w) { w.u32("llama.attention.value_length", 2); }, "ConfigError", "the same width");
  expect([](auto& w) { w.tensor_f32("rope_freqs.weight", {2}, {1, 3}); }, "ConfigError", "rope_freqs.weight");
  expect([](auto& w) { w.tensor_f32("rope_freqs.weight", {3}, {1, 3, 1}); }, "FormatError", "must hold 2 fp32");
  expect([](auto& w) { w.tensor_f32("blk.0.attn_sinks.weight", {2}, {1, 3}); }, "ConfigError", "'blk.0.attn_sinks.weight' is not part");
  test::TinyGguf other;
  other.arch = "gemma3";
  test::tiny_gguf(other).write(folder / "a.gguf");
  EXPECT_ERROR(open_weight_source((folder / "a.gguf").string()), "ConfigError", "architecture 'gemma3' is not supported");
}

TEST(GgufModel, RecognizesLlama3Frequencies) {
  // Factors as convert_hf_to_gguf.py computes them for factor 8, theta 50000 and heads of 4: frequencies 1 and 1/sqrt(50000),
  // wavelengths 6.3 (kept) and 1405 (between 8192/4 and 8192/1: below 2048, kept). A wider head reaches the slow ones.
  const TemporaryFolder folder;
  test::TinyGguf o;
  o.hidden = 16;
  o.heads = 2;
  test::GgufWriter w = test::tiny_gguf(o);
  std::vector<float> factors;
  for (int i = 0; i < 8; i += 2) {
    const double wavelength = 2 * 3.14159265358979323846 * std::pow(50000.0, i / 8.0);
    const double smooth = (8192 / wavelength - 1) / 3;
    factors.push_back(static_cast<float>(wavelength < 2048 ? 1 : wavelength > 8192 ? 8 : 1 / ((1 - smooth) / 8 + smooth)));
  }
  ASSERT_EQ(factors.back(), 8.0f);
  w.tensor_f32("rope_freqs.weight", {4}, factors);
  w.write(folder / "a.gguf");
  const auto source = open_weight_source((folder / "a.gguf").string());
  EXPECT_EQ(source->config().rope_scaling.kind, nn::RopeScaling::Kind::kLlama3);
  EXPECT_EQ(source->config().rope_scaling.factor, 8.0);
  EXPECT_FALSE(source->has("rope_freqs.weight"));
}

TEST(GgufSource, PutsRotaryRowsBackInOrder) {
  const TemporaryFolder folder;
  test::TinyGguf o;
  o.bias = true;
  test::tiny_gguf(o).write(folder / "llama.gguf");
  const auto llama = open_weight_source((folder / "llama.gguf").string());
  const auto first_column = [](const Tensor& t) {
    std::vector<int> rows;
    for (int64_t r = 0; r < t.size(0); ++r) rows.push_back(static_cast<int>((t.dim() == 2 ? t[r][0] : t[r]).item<float>()));
    return rows;
  };
  // As numpy's reshape(heads, D/2, 2, C).swapaxes(1, 2): rows 0, 2, then 1, 3 of each head of four.
  EXPECT_EQ(first_column(llama->read("model.layers.0.self_attn.q_proj.weight")), (std::vector<int>{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(first_column(llama->read("model.layers.0.self_attn.k_proj.weight")), (std::vector<int>{0, 2, 1, 3}));
  EXPECT_EQ(first_column(llama->read("model.layers.0.self_attn.v_proj.weight")), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(first_column(llama->read("model.layers.0.self_attn.q_proj.bias")), (std::vector<int>{1, 3, 2, 4, 5, 7, 6, 8}));
  EXPECT_EQ(llama->read("model.embed_tokens.weight").scalar_type(), at::kBFloat16);
  o.arch = "qwen2";
  test::tiny_gguf(o).write(folder / "qwen.gguf");
  const auto qwen = open_weight_source((folder / "qwen.gguf").string());
  EXPECT_EQ(first_column(qwen->read("model.layers.0.self_attn.q_proj.weight")), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_NE(llama->fingerprint(), qwen->fingerprint());
}

TEST(OpenWeightSource, TakesTheOneGgufFileOfAFolder) {
  const TemporaryFolder folder;
  EXPECT_ERROR(open_weight_source(folder.path().string()), "ConfigError", "neither config.json nor a GGUF file");
  test::tiny_gguf().write(folder / "b.gguf");
  EXPECT_EQ(open_weight_source(folder.path().string())->path(), folder / "b.gguf");
  test::tiny_gguf().write(folder / "a.gguf");
  EXPECT_ERROR(open_weight_source(folder.path().string()), "ConfigError", "2 GGUF files; name one of them: a.gguf, b.gguf");
}

}  // namespace
}  // namespace nibble::io
