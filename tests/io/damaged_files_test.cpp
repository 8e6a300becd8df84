// Every reader of a stranger's files, on every small damage of one of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "io/adapter.h"
#include "io/bnb.h"
#include "io/checkpoint_manifest.h"
#include "io/gguf_tokenizer.h"
#include "io/hf_config.h"
#include "io/optimizer_state.h"
#include "io/shards.h"
#include "io/weights_from_gguf.h"
#include "tests/support/damage.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temporary_folder.h"

namespace nibble::io {
namespace {

using test::DamageCount;
using test::file_bytes;
using test::put_file;
using test::TemporaryFolder;
using test::try_damage;

const std::string kConfig =
    R"({"model_type":"qwen2","vocab_size":96,"hidden_size":32,"intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":4,)"
    R"("num_key_value_heads":2,"max_position_embeddings":256,"rms_norm_eps":1e-05,"rope_theta":10000.0,"eos_token_id":[1,2],)"
    R"("rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":64},)"
    R"("use_sliding_window":true,"sliding_window":16,"layer_types":["full_attention","sliding_attention"]})";

std::string safetensors_text(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

TEST(DamagedFiles, ModelConfiguration) {
  const DamageCount count = try_damage(kConfig, [](const std::string& text) {
    const nn::ModelConfig c = parse_hf_config(text, "config.json");
    // What is accepted can be multiplied without overflow, and rendered.
    EXPECT_GE(render_hf_config(c).size(), 100u);
    EXPECT_EQ(c.layer_window.size(), static_cast<size_t>(c.num_hidden_layers));
  });
  EXPECT_EQ(count.accepted_cuts, 0);
  EXPECT_GT(count.refused, count.tried / 3);
}

TEST(DamagedFiles, QuantizationAndGenerationConfiguration) {
  const TemporaryFolder folder(test::in_memory());
  const std::string text = R"({"eos_token_id":[1,2],"quantization_config":{"load_in_4bit":true,"quant_method":"bitsandbytes"}})";
  put_file(folder / "model/config.json", kConfig);
  const DamageCount count = try_damage(text, [&](const std::string& damaged) {
    put_file(folder / "quantization.json", damaged);
    check_quantization_config(folder / "quantization.json");
    put_file(folder / "model/generation_config.json", damaged);
    for (const int64_t id : read_hf_config(folder / "model/config.json").eos_token_ids) EXPECT_GE(id, 0);
  });
  EXPECT_EQ(count.accepted_cuts, 0);
}

TEST(DamagedFiles, ShardIndexNamesOnlyFilesOfItsFolder) {
  const TemporaryFolder folder(test::in_memory());
  put_file(folder / "outside.safetensors", safetensors_text(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "1"));
  put_file(folder / "model/a.safetensors", file_bytes(folder / "outside.safetensors"));
  const DamageCount count = try_damage(R"({"metadata":{"total_size":1},"weight_map":{"x":"a.safetensors"}})", [&](const std::string& text) {
    put_file(folder / "model/model.safetensors.index.json", text);
    const SafetensorsShards shards(folder / "model");
    EXPECT_EQ(shards.files().front().path().parent_path(), folder / "model");
  });
  EXPECT_EQ(count.accepted_cuts, 0);
  for (const char* name : {"../outside.safetensors", "..", ".", "", "/dev/zero", "a\\\\b", "a\\u0000.safetensors", "model/../../outside.safetensors"}) {
    put_file(folder / "model/model.safetensors.index.json", std::string(R"({"weight_map":{"x":")") + name + "\"}}");
    EXPECT_THROW(SafetensorsShards(folder / "model"), FormatError) << name;
  }
}

TEST(DamagedFiles, Gguf) {
  const TemporaryFolder folder(test::in_memory());
  const DamageCount count = try_damage(test::tiny_gguf({.vocab = 12, .hidden = 4, .intermediate = 4}).bytes(), [&](const std::string& bytes) {
    put_file(folder / "model.gguf", bytes);
    const GgufSource source(folder / "model.gguf");
    render_tokenizer_json(*source.gguf());
    for (const std::string& name : source.names()) EXPECT_EQ(source.read(name).sizes(), at::IntArrayRef(source.shape(name)));
  });
  EXPECT_EQ(count.accepted_cuts, 0);
  EXPECT_GT(count.refused, 1000);
}

TEST(DamagedFiles, Adapter) {
  const TemporaryFolder folder(test::in_memory());
  const std::string config = R"({"peft_type":"LORA","r":1,"lora_alpha":2,"target_modules":["down_proj"],"rank_pattern":{"down_proj":1}})";
  const std::string name = "base_model.model.model.layers.0.mlp.down_proj.lora_";
  const std::string header = R"({")" + name + R"(A.weight":{"dtype":"F32","shape":[1,6],"data_offsets":[0,24]},")" + name +
                             R"(B.weight":{"dtype":"F32","shape":[4,1],"data_offsets":[24,40]}})";
  const std::string tensors = safetensors_text(header, std::string(40, '\x3E'));
  nn::ModelConfig model;
  model.hidden_size = 4;
  model.intermediate_size = 6;
  model.num_hidden_layers = 1;
  model.num_attention_heads = 2;
  model.num_key_value_heads = 1;
  model.head_dim = 2;
  const auto read = [&](const std::string& file, const std::string& bytes) {
    put_file(folder / "adapter_config.json", config);
    put_file(folder / "adapter_model.safetensors", tensors);
    put_file(folder / file, bytes);
    const Adapter adapter = read_adapter(folder.path(), model);
    // Binds all that it claims, in the base's shapes.
    EXPECT_EQ(adapter.factors.size(), 1u);
    EXPECT_EQ(adapter.factors.begin()->second.a.sizes(), (at::IntArrayRef{1, 6}));
    EXPECT_EQ(adapter.factors.begin()->second.b.sizes(), (at::IntArrayRef{4, 1}));
  };
  EXPECT_EQ(try_damage(config, [&](const std::string& text) { read("adapter_config.json", text); }).accepted_cuts, 0);
  EXPECT_EQ(try_damage(tensors, [&](const std::string& bytes) { read("adapter_model.safetensors", bytes); }).accepted_cuts, 0);
}

TEST(DamagedFiles, ManifestsAreAcceptedWholeOrNotAtAll) {
  Manifest manifest;
  manifest.step = 12;
  manifest.files = {{"adapter_model.safetensors", {123, xxh3_128("a")}}, {"config.yaml", {7, xxh3_128("b")}}};
  const std::string text = render_manifest(manifest);
  const DamageCount count = try_damage(text, [](const std::string& damaged) { parse_manifest(damaged, "MANIFEST.json"); });
  EXPECT_EQ(count.refused, count.tried - 1);
}

TEST(DamagedFiles, OptimizerState) {
  const TemporaryFolder folder(test::in_memory());
  const auto parameters = [] {
    return std::vector<optim::ParamRef>{{"a", at::ones({2, 3}, at::kBFloat16), at::zeros({2, 3}, at::kFloat)}};
  };
  optim::Optimizer optimizer({{0.9, 0.999, 1e-8, 0.01}, Optim::kAdamwTorch, 100}, parameters());
  save_optimizer(optimizer, folder / "whole");
  const DamageCount count = try_damage(file_bytes(folder / "whole"), [&](const std::string& bytes) {
    put_file(folder / "damaged", bytes);
    load_optimizer(optimizer, folder / "damaged");
    EXPECT_GE(optimizer.steps(), 0);
  });
  EXPECT_EQ(count.accepted_cuts, 0);
}

TEST(DamagedFiles, BnbStateOfAWeight) {
  const TemporaryFolder folder(test::in_memory());
  const std::string state = R"({"quant_type":"nf4","blocksize":64,"shape":[2,32],"dtype":"bfloat16"})";
  const auto put = [&](const std::string& text) {
    const std::string size = std::to_string(text.size());
    put_file(folder / "model.safetensors",
             safetensors_text(R"({"w":{"dtype":"U8","shape":[32,1],"data_offsets":[0,32]},"w.quant_state.bitsandbytes__nf4":{"dtype":"U8","shape":[)" +
                                  size + R"(],"data_offsets":[32,)" + std::to_string(32 + text.size()) + "]}}",
                              std::string(32, '\x11') + text));
  };
  const DamageCount count = try_damage(state, [&](const std::string& text) {
    put(text);
    const std::vector<int64_t> shape = bnb_shape(SafetensorsShards(folder.path()), "w");
    EXPECT_TRUE(shape[0] >= 1 && shape[1] >= 1);
    EXPECT_GE(checked_numel(shape), 1);
  });
  EXPECT_EQ(count.accepted_cuts, 0);
  EXPECT_GT(count.refused, count.tried / 2);
}

}  // namespace
}  // namespace nibble::io
