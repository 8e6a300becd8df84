// The table of families, and the names and shapes of a layer's seven linears.
#include "nn/model_config.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace nibble::nn {
namespace {

constexpr std::array kAll{Projection::kQ, Projection::kK, Projection::kV, Projection::kO, Projection::kGate, Projection::kUp, Projection::kDown};

// Sizes that are all different, so that no two can be exchanged unnoticed: C 40, Hq 6, Hkv 2, D 8, F 96.
ModelConfig distinct_sizes() {
  ModelConfig c;
  c.vocab_size = 300;
  c.hidden_size = 40;
  c.intermediate_size = 96;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 6;
  c.num_key_value_heads = 2;
  c.head_dim = 8;
  return c;
}

TEST(FamilyTable, HasOneRowAFamilyInTheOrderOfTheEnumeration) {
  for (const Family family : {Family::kLlama, Family::kMistral, Family::kQwen2, Family::kQwen3}) {
    const FamilyTraits& traits = family_traits(family);
    EXPECT_EQ(traits.family, family);
    EXPECT_EQ(find_family_by_model_type(traits.model_type), &traits);
    EXPECT_TRUE(traits.architecture.ends_with("ForCausalLM")) << traits.architecture;
  }
}

TEST(FamilyTable, StatesWhatTheFamiliesCodeAddsToItsConfig) {
  EXPECT_TRUE(family_traits(Family::kQwen2).qkv_bias);
  EXPECT_FALSE(family_traits(Family::kQwen2).qk_norm);
  EXPECT_TRUE(family_traits(Family::kQwen3).qk_norm);
  EXPECT_FALSE(family_traits(Family::kQwen3).qkv_bias);
  for (const Family plain : {Family::kLlama, Family::kMistral}) {
    EXPECT_FALSE(family_traits(plain).qkv_bias);
    EXPECT_FALSE(family_traits(plain).qk_norm);
  }
}

TEST(FamilyTable, IsFoundByExactNamesOnly) {
  EXPECT_EQ(find_family_by_model_type("mistral")->family, Family::kMistral);
  EXPECT_EQ(find_family_by_gguf_name("llama")->family, Family::kLlama);  // Mistral's GGUF files say llama too
  EXPECT_EQ(find_family_by_gguf_name("qwen3")->family, Family::kQwen3);
  for (const char* name : {"", "Llama", "llama ", "gpt2", "qwen", "qwen2_moe", "mistral3"}) {
    EXPECT_EQ(find_family_by_model_type(name), nullptr) << name;
    EXPECT_EQ(find_family_by_gguf_name(name), nullptr) << name;
  }
  EXPECT_EQ(find_family_by_gguf_name("mistral"), nullptr);
}

TEST(FamilyTable, ListsItsNamesForMessages) { EXPECT_EQ(known_model_types(), "llama, mistral, qwen2, qwen3"); }

TEST(Projections, HaveTheNamesOfHuggingFace) {
  EXPECT_EQ(projection_path(0, Projection::kQ), "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(projection_path(3, Projection::kO), "model.layers.3.self_attn.o_proj");
  EXPECT_EQ(projection_path(12, Projection::kGate), "model.layers.12.mlp.gate_proj");
  EXPECT_EQ(projection_path(12, Projection::kDown), "model.layers.12.mlp.down_proj");
  std::set<std::string> paths;
  for (const Projection p : kAll) {
    EXPECT_TRUE(paths.insert(projection_path(1, p)).second);
    EXPECT_TRUE(projection_path(1, p).ends_with(projection_name(p)));
  }
  EXPECT_EQ(paths.size(), static_cast<size_t>(kProjections));
}

TEST(Projections, HaveOutAndInOfTheirPlaceInTheLayer) {
  const ModelConfig c = distinct_sizes();
  EXPECT_EQ(c.q_width(), 48);
  EXPECT_EQ(c.kv_width(), 16);
  const std::array<std::pair<int64_t, int64_t>, 7> expected{{{48, 40}, {16, 40}, {16, 40}, {40, 48}, {96, 40}, {96, 40}, {40, 96}}};
  for (size_t i = 0; i < kAll.size(); ++i) {
    const LinearShape shape = projection_shape(c, kAll[i]);
    EXPECT_EQ(std::pair(shape.out, shape.in), expected[i]) << projection_name(kAll[i]);
    EXPECT_FALSE(shape.bias) << projection_name(kAll[i]);
  }
}

TEST(Projections, CarryTheBiasThatTheConfigGivesThem) {
  const auto biased = [](const ModelConfig& c) {
    std::string names;
    for (const Projection p : kAll) {
      if (projection_shape(c, p).bias) names += std::string(projection_name(p)) + " ";
    }
    return names;
  };
  ModelConfig c = distinct_sizes();
  c.attention_qkv_bias = true;
  EXPECT_EQ(biased(c), "q_proj k_proj v_proj ");
  c.attention_out_bias = true;
  EXPECT_EQ(biased(c), "q_proj k_proj v_proj o_proj ");
  c = distinct_sizes();
  c.mlp_bias = true;
  EXPECT_EQ(biased(c), "gate_proj up_proj down_proj ");
}

}  // namespace
}  // namespace nibble::nn
