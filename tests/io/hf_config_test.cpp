#include "io/hf_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/io/expect_error.h"
#include "tests/support/golden_path.h"
#include "tests/support/temporary_folder.h"

namespace nibble::io {
namespace {

using nlohmann::json;
using Kind = nn::RopeScaling::Kind;

json base(const char* type) {
  return {{"model_type", type},      {"vocab_size", 100},      {"hidden_size", 64},           {"intermediate_size", 128},
          {"num_hidden_layers", 4},  {"num_attention_heads", 8}, {"num_key_value_heads", 2},  {"rms_norm_eps", 1e-5},
          {"rope_theta", 1000000.0}, {"hidden_act", "silu"}};
}

nn::ModelConfig parse(const json& config) { return parse_hf_config(config.dump(), "config.json"); }

json with(json config, const char* key, const json& value) {
  config[key] = value;
  return config;
}

nn::ModelConfig golden(const std::string& name) {
  return read_hf_config(test::golden_path("models/" + name + "/config.json"));
}

TEST(HfConfig, ReadsTheOldForm) {
  const auto c = parse(base("llama"));
  EXPECT_EQ(c.family, nn::Family::kLlama);
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_EQ(c.rope_theta, 1e6);
  EXPECT_EQ(c.rms_norm_eps, 1e-5);
  EXPECT_EQ(c.rope_scaling.kind, Kind::kNone);
  EXPECT_EQ(c.layer_window, std::vector<int64_t>(4, 0));
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_FALSE(c.attention_qkv_bias || c.attention_out_bias || c.mlp_bias || c.qk_norm);
}

TEST(HfConfig, ReadsTheGoldensOfEveryFamily) {
  EXPECT_EQ(golden("llama").eos_token_ids, (std::vector<int64_t>{2}));
  EXPECT_EQ(golden("llama").bos_token_id, 1);
  EXPECT_EQ(golden("llama").pad_token_id, 0);
  EXPECT_TRUE(golden("llama_tied").tie_word_embeddings);
  EXPECT_TRUE(golden("llama_bias").attention_qkv_bias);
  EXPECT_TRUE(golden("llama_bias").attention_out_bias);
  EXPECT_EQ(golden("llama3_rope").rope_scaling.kind, Kind::kLlama3);
  EXPECT_EQ(golden("llama3_rope").rope_scaling.original_max_position_embeddings, 64);
  EXPECT_EQ(golden("mistral_window").layer_window, (std::vector<int64_t>{16, 16}));
  EXPECT_TRUE(golden("qwen2").attention_qkv_bias);
  EXPECT_FALSE(golden("qwen2").attention_out_bias);
  EXPECT_EQ(golden("qwen2").layer_window, (std::vector<int64_t>{0, 0}));
  EXPECT_TRUE(golden("qwen3").qk_norm);
  EXPECT_EQ(golden("qwen3").head_dim, 32);
}

TEST(HfConfig, RefusesOtherFamiliesByName) {
  for (const char* name : {"gemma2", "phi3", "qwen3_moe"}) {
    EXPECT_ERROR(golden(name), "ConfigError", std::string("model_type '") + name + "' is not supported");
  }
  EXPECT_ERROR(parse(json::object()), "ConfigError", "names no model_type");
}

TEST(HfConfig, TakesRopeFromWhereItIs) {
  json c = base("llama");
  c["rope_parameters"] = {{"rope_theta", 500000.0}, {"rope_type", "llama3"}, {"factor", 32.0}, {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
  EXPECT_EQ(parse(c).rope_theta, 500000.0);
  EXPECT_EQ(parse(c).rope_scaling.factor, 32.0);
  c = with(base("llama"), "rope_scaling", {{"type", "linear"}, {"factor", 2}});
  EXPECT_EQ(parse(c).rope_scaling.kind, Kind::kLinear);
  EXPECT_EQ(parse(c).rope_scaling.factor, 2.0);
  EXPECT_EQ(parse(with(base("llama"), "rope_scaling", {{"rope_type", "default"}})).rope_scaling.kind, Kind::kNone);
  EXPECT_EQ(parse(with(base("llama"), "rope_scaling", nullptr)).rope_scaling.kind, Kind::kNone);
  for (const char* kind : {"yarn", "dynamic", "longrope", "su"}) {
    EXPECT_ERROR(parse(with(base("llama"), "rope_scaling", {{"type", kind}, {"factor", 2.0}})), "ConfigError",
                 std::string("rotary scaling '") + kind + "' is not supported");
  }
  EXPECT_ERROR(parse(with(base("llama"), "rope_scaling", {{"type", "linear"}})), "FormatError", "no 'factor'");
  EXPECT_ERROR(parse(with(base("llama"), "rope_scaling", {{"type", "linear"}, {"factor", 0}})), "FormatError", "factor is 0");
  EXPECT_ERROR(parse(with(base("llama"), "partial_rotary_factor", 0.5)), "ConfigError", "partial_rotary_factor 0.5");
}

TEST(HfConfig, DecidesSlidingWindowsAsEachFamilyDoes) {
  EXPECT_EQ(parse(base("mistral")).layer_window, std::vector<int64_t>(4, 4096));
  EXPECT_EQ(parse(with(base("mistral"), "sliding_window", nullptr)).layer_window, std::vector<int64_t>(4, 0));
  EXPECT_EQ(parse(with(base("mistral"), "sliding_window", 7)).layer_window, std::vector<int64_t>(4, 7));
  json q = with(base("qwen2"), "sliding_window", 16);
  EXPECT_EQ(parse(q).layer_window, std::vector<int64_t>(4, 0));
  q["use_sliding_window"] = true;
  EXPECT_EQ(parse(q).layer_window, std::vector<int64_t>(4, 0));
  q["max_window_layers"] = 1;
  EXPECT_EQ(parse(q).layer_window, (std::vector<int64_t>{0, 16, 16, 16}));
  q["layer_types"] = {"sliding_attention", "full_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(parse(q).layer_window, (std::vector<int64_t>{16, 0, 0, 16}));
  q["layer_types"] = {"sliding_attention"};
  EXPECT_ERROR(parse(q), "FormatError", "each of the 4 layers");
  q["layer_types"] = {"full_attention", "full_attention", "full_attention", "chunked_attention"};
  EXPECT_ERROR(parse(q), "ConfigError", "layer type \"chunked_attention\"");
  EXPECT_EQ(parse(with(base("llama"), "sliding_window", 16)).layer_window, std::vector<int64_t>(4, 0));
}

TEST(HfConfig, ReadsEndOfTextIdsAsNumberListOrNothing) {
  EXPECT_EQ(parse(with(base("llama"), "eos_token_id", {7, 9, 7})).eos_token_ids, (std::vector<int64_t>{7, 9}));
  EXPECT_TRUE(parse(with(base("llama"), "eos_token_id", nullptr)).eos_token_ids.empty());
  EXPECT_FALSE(parse(with(base("llama"), "pad_token_id", -1)).pad_token_id.has_value());
  EXPECT_ERROR(parse(with(base("llama"), "eos_token_id", "2")), "FormatError", "'eos_token_id' must be a token id");
  const test::TemporaryFolder folder;
  test::put_file(folder / "config.json", with(base("llama"), "eos_token_id", 2).dump());
  test::put_file(folder / "generation_config.json", R"({"eos_token_id": [2, 5]})");
  EXPECT_EQ(read_hf_config(folder / "config.json").eos_token_ids, (std::vector<int64_t>{2, 5}));
}

TEST(HfConfig, DefaultsHeadWidthAndHeadsAsTransformersDoes) {
  json c = base("qwen3");
  EXPECT_EQ(parse(c).head_dim, 128);
  c["head_dim"] = 16;
  EXPECT_EQ(parse(c).head_dim, 16);
  json l = base("llama");
  l.erase("num_key_value_heads");
  EXPECT_EQ(parse(l).num_key_value_heads, 8);
}

TEST(HfConfig, RefusesSizesThatMakeNoSense) {
  EXPECT_ERROR(parse(with(base("llama"), "hidden_act", "gelu")), "ConfigError", "hidden_act 'gelu'");
  EXPECT_ERROR(parse(with(base("llama"), "vocab_size", 0)), "FormatError", "vocab_size is 0");
  EXPECT_ERROR(parse(with(base("llama"), "vocab_size", 1e18)), "FormatError", "'vocab_size' must be a whole number");
  EXPECT_ERROR(parse(with(base("llama"), "hidden_size", -64)), "FormatError", "hidden_size is -64");
  EXPECT_ERROR(parse(with(base("llama"), "hidden_size", "64")), "FormatError", "'hidden_size' must be a whole number");
  EXPECT_ERROR(parse(with(base("llama"), "num_hidden_layers", 1.5)), "FormatError", "'num_hidden_layers' must be a whole number");
  EXPECT_ERROR(parse(with(base("llama"), "num_attention_heads", 0)), "FormatError", "num_attention_heads is 0");
  EXPECT_ERROR(parse(with(base("llama"), "num_key_value_heads", 3)), "FormatError", "not a multiple of 3");
  EXPECT_ERROR(parse(with(base("llama"), "head_dim", 7)), "FormatError", "head_dim is 7");
  EXPECT_ERROR(parse(with(base("llama"), "head_dim", 1 << 24)), "FormatError", "head_dim is 16777216");
  EXPECT_ERROR(parse(with(base("llama"), "rms_norm_eps", -1)), "FormatError", "rms_norm_eps is -1");
  EXPECT_ERROR(parse(with(base("llama"), "rope_theta", 0)), "FormatError", "rope_theta is 0");
  json c = base("llama");
  c.erase("vocab_size");
  EXPECT_ERROR(parse(c), "FormatError", "'vocab_size' is missing");
  EXPECT_ERROR(parse_hf_config("[]", "config.json"), "FormatError", "one JSON object");
  EXPECT_ERROR(parse_hf_config("{", "config.json"), "FormatError", "not JSON");
}

TEST(HfConfig, FindsTheLanguageModelInsideAnother) {
  const json outer = {{"model_type", "llava"}, {"text_config", base("llama")}};
  EXPECT_EQ(parse(outer).hidden_size, 64);
}

TEST(HfConfig, RendersWhatItReadsBack) {
  for (const char* name : {"llama", "llama_bias", "llama3_rope", "mistral_window", "qwen2", "qwen3"}) {
    SCOPED_TRACE(name);
    const auto before = golden(name);
    const auto after = parse_hf_config(render_hf_config(before), "config.json");
    EXPECT_EQ(after.family, before.family);
    EXPECT_EQ(after.head_dim, before.head_dim);
    EXPECT_EQ(after.layer_window, before.layer_window);
    EXPECT_EQ(after.attention_qkv_bias, before.attention_qkv_bias);
    EXPECT_EQ(after.attention_out_bias, before.attention_out_bias);
    EXPECT_EQ(after.rope_scaling.kind, before.rope_scaling.kind);
    EXPECT_EQ(after.rope_scaling.factor, before.rope_scaling.factor);
    EXPECT_EQ(after.rope_theta, before.rope_theta);
    EXPECT_EQ(after.rms_norm_eps, before.rms_norm_eps);
    EXPECT_EQ(after.tie_word_embeddings, before.tie_word_embeddings);
    EXPECT_EQ(after.eos_token_ids, before.eos_token_ids);
    EXPECT_EQ(after.bos_token_id, before.bos_token_id);
    EXPECT_EQ(after.vocab_size, before.vocab_size);
    EXPECT_EQ(after.max_position_embeddings, before.max_position_embeddings);
  }
}

TEST(MergedHfConfig, DropsTheQuantizationAndKeepsTheRest) {
  const std::string text = R"({"z": 1, "quantization_config": {"a": 1}, "dtype": "float32", "unknown": [1, {"x": null}]})";
  const auto merged = nlohmann::ordered_json::parse(merged_hf_config(text, "bfloat16"));
  EXPECT_EQ(merged.dump(), R"({"z":1,"dtype":"bfloat16","unknown":[1,{"x":null}]})");
  EXPECT_EQ(json::parse(merged_hf_config("{}", "float32")).at("torch_dtype"), "float32");
}

}  // namespace
}  // namespace nibble::io
