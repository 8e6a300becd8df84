// Units: io/merge, io/export_files, io/gguf_tokenizer.
#include "io/merge.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/export_files.h"
#include "io/gguf_tokenizer.h"
#include "io/load_model.h"
#include "io/shards.h"
#include "quant/blockwise.h"
#include "tests/io/expect_error.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/golden_path.h"
#include "tests/support/golden_tensors.h"

namespace nibble::io {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::golden_path;
using test::golden_tensors;
using test::put_file;
using test::TemporaryFolder;

Adapter golden_adapter(const char* variant, const WeightSource& base) {
  return read_adapter(golden_path(std::string("lora/") + variant + "/adapter"), base.config());
}

MergeOptions fp32_options() {
  MergeOptions options;
  options.compute_dtype = at::kFloat;
  options.dtype = at::kFloat;
  return options;
}

TEST(Merge, GivesPeftsWeightsOnADenseBase) {
  const TemporaryFolder folder;
  const auto base = open_weight_source(golden_path("models/llama"));
  const MergeResult result = merge_adapter(*base, golden_adapter("fp32", *base), folder / "out", fp32_options());
  EXPECT_EQ(result.merged, 14);
  EXPECT_EQ(result.weights, 21);
  EXPECT_EQ(result.shards, 1);
  const auto merged = open_weight_source((folder / "out").string());
  for (const auto& [name, expected] : golden_tensors("lora/fp32/merged.safetensors")) {
    EXPECT_LE((merged->read(name) - expected).abs().max().item<float>(), 1e-6) << name;
  }
  for (const char* name : {"lm_head.weight", "model.norm.weight", "model.embed_tokens.weight"}) {
    EXPECT_TRUE(at::equal(merged->read(name), base->read(name))) << name;
  }
}

// bf16 values as numbers in their order, so that neighbours differ by one.
Tensor ordered(const Tensor& bf16) {
  const Tensor bits = bf16.view(at::kShort).to(at::kInt);
  return at::where(bits < 0, -(bits + 32768), bits);
}

TEST(Merge, GivesPeftsWeightsOnA4BitBase) {
  const TemporaryFolder folder;
  const auto base = open_weight_source(golden_path("lora/base_nf4"));
  MergeOptions options;
  options.quant = quant::QuantConfig{};
  options.compute_dtype = at::kFloat;
  merge_adapter(*base, golden_adapter("nf4", *base), folder / "out", options);
  const auto merged = open_weight_source((folder / "out").string());
  for (const auto& [name, expected] : golden_tensors("lora/nf4/merged.safetensors")) {
    const Tensor found = merged->read(name);
    ASSERT_EQ(found.scalar_type(), at::kBFloat16);
    // Equal, or the neighbouring bf16 value.
    EXPECT_LE((ordered(found) - ordered(expected.to(at::kBFloat16))).abs().max().item<int>(), 1) << name;
  }
  const json config = json::parse(test::file_bytes(folder / "out/config.json"));
  EXPECT_FALSE(config.contains("quantization_config"));
  EXPECT_EQ(config.at("dtype"), "bfloat16");
  EXPECT_EQ(config.at("transformers_version"), "5.23.0");
}

TEST(Merge, AddsToTheBaseAsTheRunSawItOrToTheOriginal) {
  const TemporaryFolder folder;
  const auto base = open_weight_source(golden_path("models/llama"));
  const Adapter adapter = golden_adapter("fp32", *base);
  const std::string path = "model.layers.1.mlp.down_proj", name = path + ".weight";
  MergeOptions options = fp32_options();
  options.quant = quant::QuantConfig{};
  const auto& factors = adapter.factors.at(path);
  const Tensor update = at::mm(factors.b, factors.a) * factors.scale;
  // fp32 sum of eight products and one addition: a few rounding errors of the largest value.
  const double bound = 16 * 1.2e-7;
  merge_adapter(*base, adapter, folder / "dequantized", options);
  const Tensor seen = quant::dequantize(quant::quantize(base->read(name), *options.quant), at::kFloat);
  EXPECT_LE((open_weight_source((folder / "dequantized").string())->read(name) - seen - update).abs().max().item<float>(), bound);
  options.base = MergeBase::kOriginal;
  merge_adapter(*base, adapter, folder / "original", options);
  EXPECT_LE((open_weight_source((folder / "original").string())->read(name) - base->read(name) - update).abs().max().item<float>(), bound);
}

TEST(Merge, MergedModelComputesAsBaseAndAdapterDo) {
  const TemporaryFolder folder;
  const auto base = open_weight_source(golden_path("models/llama"));
  const Adapter adapter = golden_adapter("fp32", *base);
  merge_adapter(*base, adapter, folder / "out", fp32_options());
  nn::Model together = load_model(*base, {at::kFloat, {}, {}});
  attach_adapter(together, adapter, 0);
  nn::Model merged = load_model(*open_weight_source((folder / "out").string()), {at::kFloat, {}, {}});
  const std::vector<int32_t> ids{5, 17, 80, 3, 44}, positions{0, 1, 2, 3, 4}, starts{0, 5};
  const nn::TokenBatch batch{ids, {}, positions, starts};
  const Tensor a = nn::Pass(together, 8).forward_logits(batch), b = nn::Pass(merged, 8).forward_logits(batch);
  EXPECT_LE((a - b).abs().max().item<float>(), 5e-5);  // the golden README's bound for logits
}

TEST(Merge, SplitsIntoShardsWithAnIndex) {
  const TemporaryFolder folder;
  const auto base = open_weight_source(golden_path("models/llama"));
  MergeOptions options;
  options.max_shard_bytes = 40000;
  int64_t calls = 0;
  options.progress = [&](int64_t done, int64_t) { EXPECT_EQ(done, ++calls); };
  const MergeResult result = merge_adapter(*base, golden_adapter("fp32", *base), folder / "out", options);
  EXPECT_GT(result.shards, 3);
  EXPECT_EQ(calls, 21);
  const SafetensorsShards shards(folder / "out");
  EXPECT_EQ(static_cast<int64_t>(shards.files().size()), result.shards);
  EXPECT_EQ(shards.names().size(), 21u);
  for (const SafetensorsFile& file : shards.files()) EXPECT_LE(file.size(), 40000 + 4096);
  const json index = json::parse(test::file_bytes(folder / "out" / kShardIndexName));
  EXPECT_EQ(index.at("metadata").at("total_size"), result.bytes);
}

TEST(Merge, CopiesTheTokenizerAndTheChatTemplate) {
  const TemporaryFolder folder;
  fs::copy(golden_path("models/llama"), folder / "base");
  put_file(folder / "base/tokenizer.json", "{\"t\": 1}");
  put_file(folder / "base/tokenizer.model", std::string("\0\1\2", 3));
  put_file(folder / "base/chat_template.jinja", "old");
  put_file(folder / "base/notes.txt", "not ours");
  const auto base = open_weight_source((folder / "base").string());
  MergeOptions options;
  merge_adapter(*base, golden_adapter("fp32", *base), folder / "out", options);
  EXPECT_EQ(test::file_bytes(folder / "out/tokenizer.model"), std::string("\0\1\2", 3));
  EXPECT_EQ(test::file_bytes(folder / "out/chat_template.jinja"), "old");
  EXPECT_TRUE(fs::exists(folder / "out/generation_config.json"));
  EXPECT_FALSE(fs::exists(folder / "out/notes.txt"));
  options.chat_template = "{{ new }}";
  merge_adapter(*base, golden_adapter("fp32", *base), folder / "out", options);  // over the earlier export
  EXPECT_EQ(test::file_bytes(folder / "out/chat_template.jinja"), "{{ new }}");
}

TEST(Merge, LeavesNothingWhereItFails) {
  const TemporaryFolder folder;
  const auto base = open_weight_source(golden_path("models/llama"));
  Adapter adapter = golden_adapter("fp32", *base);
  adapter.factors.at("model.layers.1.mlp.down_proj").a.fill_(1e20);
  adapter.factors.at("model.layers.1.mlp.down_proj").b.fill_(1e20);
  EXPECT_ERROR(merge_adapter(*base, adapter, folder / "out", MergeOptions{}), "FormatError", "'model.layers.1.mlp.down_proj.weight' is");
  EXPECT_TRUE(fs::is_empty(folder.path()));
  adapter = golden_adapter("fp32", *base);
  adapter.factors["model.layers.9.mlp.down_proj"] = adapter.factors.begin()->second;
  EXPECT_ERROR(merge_adapter(*base, adapter, folder / "out", MergeOptions{}), "ConfigError", "factors of 15 linears, of which the base has 14");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(ExpectReplaceable, ProtectsWhatIsNoExport) {
  const TemporaryFolder folder;
  expect_replaceable(folder / "new", folder / "base");
  put_file(folder / "file", "");
  EXPECT_ERROR(expect_replaceable(folder / "file", folder / "base"), "ConfigError", "it is a file");
  put_file(folder / "base/config.json", "{}");
  EXPECT_ERROR(expect_replaceable(folder / "base", folder / "base"), "ConfigError", "lies there");
  EXPECT_ERROR(expect_replaceable(folder.path(), folder / "base"), "ConfigError", "lies there");
  put_file(folder / "out/tokenizer.json", "{}");
  EXPECT_ERROR(expect_replaceable(folder / "out", folder / "base"), "ConfigError", "holds no earlier export");
  put_file(folder / "out/config.json", "{}");
  EXPECT_NO_THROW(expect_replaceable(folder / "out", folder / "base"));
  put_file(folder / "out/thesis.tex", "");
  EXPECT_ERROR(expect_replaceable(folder / "out", folder / "base"), "ConfigError", "'thesis.tex'");
}

TEST(Merge, MakesAWholeFolderFromGguf) {
  const TemporaryFolder folder;
  test::TinyGguf o;
  o.layers = 2;
  test::tiny_gguf(o).write(folder / "a.gguf");
  const auto base = open_weight_source((folder / "a.gguf").string());
  Adapter adapter;
  adapter.factors["model.layers.0.self_attn.q_proj"] = {at::ones({2, 8}), at::ones({8, 2}), 0.5f};
  merge_adapter(*base, adapter, folder / "out", MergeOptions{});
  const auto merged = open_weight_source((folder / "out").string());
  EXPECT_EQ(merged->config().rope_theta, 50000.0);
  EXPECT_TRUE(merged->config().tie_word_embeddings);
  EXPECT_TRUE(at::equal(merged->read("model.layers.0.self_attn.q_proj.weight"),
                        (base->read("model.layers.0.self_attn.q_proj.weight").to(at::kFloat) + 1).to(at::kBFloat16)));
  EXPECT_NO_THROW(load_model(*merged, {}));
  const json tokenizer = json::parse(test::file_bytes(folder / "out/tokenizer.json"));
  EXPECT_EQ(tokenizer.at("model").at("vocab").at("abc"), 10);
  EXPECT_EQ(tokenizer.at("model").at("vocab").at("\""), 9);
  EXPECT_EQ(tokenizer.at("model").at("vocab").size(), 12u);
  EXPECT_EQ(tokenizer.at("model").at("merges"), (json{"a b", "ab c"}));
  EXPECT_EQ(tokenizer.at("added_tokens").size(), 3u);
  EXPECT_EQ(tokenizer.at("added_tokens")[2].at("special"), false);
  EXPECT_EQ(tokenizer.at("pre_tokenizer").at("pretokenizers")[0].at("type"), "Digits");
  EXPECT_EQ(tokenizer.at("pre_tokenizer").at("pretokenizers")[1].at("use_regex"), true);
  EXPECT_TRUE(tokenizer.at("post_processor").is_null());
  const json config = json::parse(test::file_bytes(folder / "out/tokenizer_config.json"));
  EXPECT_EQ(config.at("eos_token"), "</s>");
  EXPECT_EQ(json::parse(test::file_bytes(folder / "out/generation_config.json")).at("eos_token_id"), 1);
}

TEST(GgufTokenizer, PutsTheBosInFrontWhereTheModelDoes) {
  const TemporaryFolder folder;
  test::GgufWriter w = test::tiny_gguf();
  w.boolean("tokenizer.ggml.add_bos_token", 1);
  w.write(folder / "a.gguf");
  const json tokenizer = json::parse(render_tokenizer_json(GgufFile(folder / "a.gguf")));
  EXPECT_EQ(tokenizer.at("post_processor").at("special_tokens").at("<s>").at("ids"), json{0});
  EXPECT_EQ(tokenizer.at("post_processor").at("single")[0].at("SpecialToken").at("id"), "<s>");
  EXPECT_EQ(tokenizer.at("post_processor").at("single")[1].at("Sequence").at("id"), "A");
}

TEST(GgufTokenizer, RefusesKindsItCannotWriteBeforeAnythingIsMerged) {
  const TemporaryFolder folder;
  std::string bytes = test::tiny_gguf().bytes();
  const size_t at = bytes.find("smollm");
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at, 6, "falcon");
  put_file(folder / "a.gguf", bytes);
  EXPECT_ERROR(render_tokenizer_json(GgufFile(folder / "a.gguf")), "ConfigError", "its pre-tokenizer is 'falcon'");
}

}  // namespace
}  // namespace nibble::io
