// Units: io/adapter, io/adapter_config.
#include "io/adapter.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/load_model.h"
#include "io/safetensors.h"
#include "tests/io/expect_error.h"
#include "tests/support/golden_path.h"
#include "tests/support/golden_tensors.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace nibble::io {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::golden_path;
using test::golden_tensors;
using test::put_file;
using test::TemporaryFolder;

nn::ModelConfig llama() { return open_weight_source(golden_path("models/llama"))->config(); }

json golden_config(const char* variant = "fp32") {
  return json::parse(test::file_bytes(golden_path(std::string("lora/") + variant + "/adapter/adapter_config.json")));
}

// The golden adapter with its configuration changed.
class ChangedAdapter {
 public:
  const fs::path& put(const json& config) {
    fs::copy(golden_path("lora/fp32/adapter"), folder_.path(),
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    put_file(folder_ / "adapter_config.json", config.dump());
    return folder_.path();
  }

 private:
  TemporaryFolder folder_;
};

json with(json config, const char* key, const json& value) {
  config[key] = value;
  return config;
}

TEST(Adapter, ReadsWhatPeftWrote) {
  const Adapter adapter = read_adapter(golden_path("lora/fp32/adapter"), llama());
  EXPECT_EQ(adapter.config.r, 8);
  EXPECT_EQ(adapter.config.alpha, 16);
  EXPECT_EQ(adapter.config.base_model_name_or_path, "models/llama");
  EXPECT_EQ(adapter.factors.size(), 14u);
  const auto tensors = golden_tensors("lora/fp32/adapter/adapter_model.safetensors");
  for (const auto& [path, factors] : adapter.factors) {
    EXPECT_EQ(factors.scale, 2.0f);
    EXPECT_TRUE(at::equal(factors.a, tensors.at("base_model.model." + path + ".lora_A.weight"))) << path;
    EXPECT_TRUE(at::equal(factors.b, tensors.at("base_model.model." + path + ".lora_B.weight"))) << path;
  }
  const Adapter rslora = read_adapter(golden_path("lora/fp32_rslora/adapter"), llama());
  EXPECT_TRUE(rslora.config.use_rslora);
  EXPECT_EQ(rslora.factors.begin()->second.scale, static_cast<float>(16 / std::sqrt(8.0)));
}

TEST(Adapter, AttachesToTheModel) {
  nn::Model model = load_model(*open_weight_source(golden_path("models/llama")), {at::kFloat, {}, {}});
  const Adapter adapter = read_adapter(golden_path("lora/fp32/adapter"), model.config);
  attach_adapter(model, adapter, 0.25);
  int bound = 0;
  model.each_lora([&](const std::string& path, const nn::Lora& lora) {
    EXPECT_TRUE(at::equal(lora.b, adapter.factors.at(path).b));
    EXPECT_EQ(lora.dropout, 0.25f);
    EXPECT_EQ(lora.scale, 2.0f);
    ++bound;
  });
  EXPECT_EQ(bound, 14);
  Adapter other;
  EXPECT_ERROR(attach_adapter(model, other, 0), "ConfigError", "factors of 0 linears");
}

TEST(Adapter, WritesWhatItReads) {
  const TemporaryFolder folder;
  test::TinyModelOptions o;
  o.dtype = at::kBFloat16;
  const nn::Model model = test::tiny_model(o);
  nn::LoraConfig lora;
  lora.r = o.r;
  lora.alpha = 8;
  lora.dropout = 0.05;
  write_adapter(folder.path(), adapter_tensors(model), adapter_config_of(lora, "org/base"));
  const Adapter adapter = read_adapter(folder.path(), model.config);
  EXPECT_EQ(adapter.config.base_model_name_or_path, "org/base");
  EXPECT_EQ(adapter.config.dropout, 0.05);
  EXPECT_TRUE(is_adapter_folder(folder.path()));
  model.each_lora([&](const std::string& path, const nn::Lora& l) {
    EXPECT_TRUE(at::equal(adapter.factors.at(path).a, l.a));
    EXPECT_TRUE(at::equal(adapter.factors.at(path).b, l.b));
    EXPECT_EQ(adapter.factors.at(path).scale, l.scale);
  });
  const SafetensorsFile file(folder / "adapter_model.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.entries().front().name, "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight");
}

TEST(AdapterConfig, HasPeftsKeysAndValuesAndNoNewerOnes) {
  nn::LoraConfig lora;
  lora.r = 8;
  lora.alpha = 16;
  const std::string text = render_adapter_config(adapter_config_of(lora, "models/llama"));
  const json found = json::parse(text), golden = golden_config();
  EXPECT_EQ(found.size(), 24u);
  for (const auto& [key, value] : found.items()) {
    ASSERT_TRUE(golden.contains(key)) << key;
    if (key == "target_modules") continue;
    EXPECT_EQ(value, golden.at(key)) << key;
  }
  EXPECT_EQ(found.at("target_modules"), (json{"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}));
  EXPECT_EQ(text, found.dump(2));  // nlohmann's json sorts its keys
  EXPECT_TRUE(found.at("lora_alpha").is_number_integer());
  lora.alpha = 0.5;
  EXPECT_EQ(json::parse(render_adapter_config(adapter_config_of(lora, ""))).at("lora_alpha"), 0.5);
}

TEST(AdapterConfig, RefusesByNameWhatNibbleDoesNotDo) {
  ChangedAdapter changed;
  const auto expect = [&](const char* key, const json& value, const char* message) {
    EXPECT_ERROR(read_adapter(changed.put(with(golden_config(), key, value)), llama()), "ConfigError", message);
  };
  EXPECT_ERROR(read_adapter(golden_path("lora/fp32_dora/adapter"), llama()), "ConfigError", "use_dora is true: it is a DoRA adapter");
  expect("peft_type", "IA3", "peft_type is \"IA3\"");
  expect("modules_to_save", {"lm_head"}, "modules_to_save");
  expect("bias", "all", "bias is \"all\"");
  expect("layers_to_transform", {0}, "layers_to_transform");
  expect("exclude_modules", "x", "exclude_modules");
  expect("lora_bias", true, "lora_bias");
  expect("target_parameters", {"x"}, "target_parameters");
  expect("trainable_token_indices", {1}, "trainable_token_indices");
  expect("alora_invocation_tokens", {1}, "alora_invocation_tokens");
  expect("fan_in_fan_out", true, "fan_in_fan_out");
  expect("init_lora_weights", "pissa_niter_16", "plain adapter");
  expect("rank_pattern", {{"^model.*q_proj$", 4}}, "regular expressions");
  expect("target_modules", nullptr, "no target_modules");
  json without = golden_config();
  without.erase("peft_type");
  EXPECT_ERROR(read_adapter(changed.put(without), llama()), "ConfigError", "peft_type is missing");
}

TEST(AdapterConfig, RefusesValuesThatMakeNoSense) {
  ChangedAdapter changed;
  const auto expect = [&](const char* key, const json& value, const char* message) {
    EXPECT_ERROR(read_adapter(changed.put(with(golden_config(), key, value)), llama()), "FormatError", message);
  };
  expect("r", 0, "'r' must be a rank");
  expect("r", "8", "'r' must be a rank");
  expect("r", 1 << 20, "'r' must be a rank");
  expect("lora_alpha", "x", "'lora_alpha' must be a number");
  expect("lora_dropout", 1.0, "'lora_dropout' must be");
  expect("use_rslora", 1, "'use_rslora' must be true or false");
  expect("target_modules", {1}, "'target_modules' must be");
  expect("rank_pattern", {{"q_proj", 0}}, "'rank_pattern.q_proj' must be a rank");
  expect("alpha_pattern", 3, "'alpha_pattern' must be an object");
}

TEST(Adapter, TakesAllFormsOfTargets) {
  ChangedAdapter changed;
  for (const json& targets : {json("all-linear"), json(R"(.*\.(self_attn|mlp)\..*_proj)"),
                              json{"self_attn.q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "mlp.down_proj"}}) {
    EXPECT_EQ(read_adapter(changed.put(with(golden_config(), "target_modules", targets)), llama()).factors.size(), 14u);
  }
}

TEST(Adapter, BindsExactlyWhatItClaims) {
  ChangedAdapter changed;
  EXPECT_ERROR(read_adapter(changed.put(with(golden_config(), "target_modules", {"q_proj"})), llama()), "FormatError",
               "which adapter_config.json does not target");
  nn::ModelConfig deeper = llama();
  deeper.num_hidden_layers = 3;
  EXPECT_ERROR(read_adapter(golden_path("lora/fp32/adapter"), deeper), "FormatError", "targets 21 linears of this base, but only 14 have factors");
  deeper.num_hidden_layers = 1;
  EXPECT_ERROR(read_adapter(golden_path("lora/fp32/adapter"), deeper), "FormatError", "no LoRA factor of a linear of this base");
  nn::ModelConfig wider = llama();
  wider.intermediate_size = 256;
  EXPECT_ERROR(read_adapter(golden_path("lora/fp32/adapter"), wider), "FormatError", "call for [8, 256]");
  EXPECT_ERROR(read_adapter(changed.put(with(golden_config(), "r", 4)), llama()), "FormatError", "call for [4,");
}

// One linear's factors and others', as a file.
struct Named {
  std::string name;
  Tensor tensor;
};
void put_factors(const fs::path& folder, const std::vector<Named>& factors) {
  SafetensorsPlan plan;
  for (const Named& f : factors) {
    const DType dtype = f.tensor.scalar_type() == at::kFloat ? DType::kF32 : f.tensor.scalar_type() == at::kHalf ? DType::kF16 : DType::kI32;
    plan.tensors.push_back({f.name, dtype, f.tensor.sizes().vec()});
  }
  SafetensorsWriter writer(folder / "adapter_model.safetensors", plan);
  for (const Named& f : factors) writer.write(f.name, {static_cast<const std::byte*>(f.tensor.const_data_ptr()), f.tensor.nbytes()});
  writer.close();
}

TEST(Adapter, ChecksEachTensor) {
  ChangedAdapter changed;
  nn::ModelConfig one_layer = llama();
  one_layer.num_hidden_layers = 1;
  const fs::path& folder = changed.put(with(golden_config(), "target_modules", {"q_proj"}));
  const std::string q = "base_model.model.model.layers.0.self_attn.q_proj";
  const Tensor a = at::ones({8, 64}), b = at::ones({64, 8});
  const auto expect = [&](const std::vector<Named>& factors, const char* message) {
    put_factors(folder, factors);
    EXPECT_ERROR(read_adapter(folder, one_layer), "FormatError", message);
  };
  expect({{q + ".lora_A.weight", a}}, "only one of lora_A and lora_B");
  expect({}, "no LoRA factors");
  expect({{q + ".lora_A.weight", a}, {q + ".lora_B.weight", b}, {q + ".lora_magnitude_vector", at::ones({64})}}, "lora_magnitude_vector' is no LoRA factor");
  expect({{"base_model.model.lm_head.weight", a}}, "lm_head.weight' is no LoRA factor");
  expect({{q + ".lora_A.weight", a.to(at::kInt)}, {q + ".lora_B.weight", b}}, "is I32");
  expect({{q + ".lora_A.weight", a}, {q + ".lora_B.weight", b.t().contiguous()}}, "call for [64, 8]");
  expect({{q + ".lora_A.weight", a}, {q + ".lora_A.default.weight", a}}, "under two names");
  Tensor nan = b.clone();
  nan[1][0] = NAN;
  expect({{q + ".lora_A.weight", a}, {q + ".lora_B.weight", nan}}, "is nan at index 8");
  put_factors(folder, {{q + ".lora_A.default.weight", a.to(at::kHalf)}, {q + ".lora_B.default.weight", b}});
  EXPECT_EQ(read_adapter(folder, one_layer).factors.size(), 1u);
}

TEST(Adapter, FollowsRankAndAlphaPatterns) {
  ChangedAdapter changed;
  nn::ModelConfig one_layer = llama();
  one_layer.num_hidden_layers = 1;
  json config = with(golden_config(), "target_modules", {"q_proj", "o_proj"});
  config["rank_pattern"] = {{"layers.0.self_attn.q_proj", 2}};
  config["alpha_pattern"] = {{"q_proj", 5}};
  const fs::path& folder = changed.put(config);
  const std::string layer = "base_model.model.model.layers.0.self_attn.";
  put_factors(folder, {{layer + "q_proj.lora_A.weight", at::ones({2, 64})}, {layer + "q_proj.lora_B.weight", at::ones({64, 2})},
                       {layer + "o_proj.lora_A.weight", at::ones({8, 64})}, {layer + "o_proj.lora_B.weight", at::ones({64, 8})}});
  const Adapter adapter = read_adapter(folder, one_layer);
  EXPECT_EQ(adapter.factors.at("model.layers.0.self_attn.q_proj").scale, 2.5f);
  EXPECT_EQ(adapter.factors.at("model.layers.0.self_attn.o_proj").scale, 2.0f);
  const json again = json::parse(render_adapter_config(adapter.config));
  EXPECT_EQ(again.at("rank_pattern"), config.at("rank_pattern"));
  EXPECT_EQ(again.at("alpha_pattern"), config.at("alpha_pattern"));
}

}  // namespace
}  // namespace nibble::io
