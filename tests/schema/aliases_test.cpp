// Other trainers' names: each is read as the key it means, with a note that says so, or refused with what to do instead.
#include "schema/aliases.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "schema/value.h"
#include "tests/schema/fixtures.h"

namespace nibble::schema {
namespace {

std::string value_of(const RunConfig& config, std::string_view key) {
  std::string text = "no such key";
  auto find = [&](const char* name, const auto& value, const Field&) {
    if (name == key) text = value_text(value);
  };
  RunConfig::describe(config, find);
  return text;
}

TEST(Aliases, EachIsAnotherNameOfAKeyAndOfOneOnly) {
  const std::vector<std::string> keys = key_names();
  std::set<std::string_view> seen(keys.begin(), keys.end());
  for (const Alias& alias : aliases()) {
    EXPECT_TRUE(seen.insert(alias.name).second) << alias.name;
    EXPECT_EQ(std::count(keys.begin(), keys.end(), alias.canonical), 1) << alias.name;
  }
  for (const KnownElsewhere& other : known_elsewhere()) EXPECT_TRUE(seen.insert(other.name).second) << other.name;
}

// A value other than the default, by canonical key, for the aliases whose value is taken as it stands.
const std::map<std::string_view, std::string>& samples() {
  static const std::map<std::string_view, std::string> values{
      {"model_name_or_path", "/m"}, {"max_length", "77"}, {"packing", "false"}, {"per_device_train_batch_size", "3"}, {"per_device_eval_batch_size", "5"},
      {"num_train_epochs", "2.5"}, {"lr_scheduler_type", "linear"}, {"optim", "adamw_torch"}, {"use_rslora", "true"}, {"adapter_name_or_path", "/a"},
      {"truncation", "drop"}, {"chat_template_path", "chatml"}, {"validation_split_ratio", "0.25"}, {"resume_from_checkpoint", "true"},
      {"load_in_4bit", "false"}, {"bnb_4bit_quant_type", "fp4"}, {"bnb_4bit_use_double_quant", "false"}, {"lora_r", "9"}, {"assistant_only_loss", "false"},
      {"seed", "7"}, {"dataset_prepared_path", "/p"}, {"eval_strategy", "epoch"}, {"adam_beta1", "0.5"}, {"adam_beta2", "0.75"}, {"adam_epsilon", "0.125"},
      {"train_on_last_turn_only", "true"}, {"dataset_messages_field", "m"}, {"dataset_role_field", "r"}, {"dataset_content_field", "c"},
      {"dataset_train_field", "t"}, {"dataset_instruction_field", "i"}, {"dataset_input_field", "n"}, {"dataset_output_field", "o"},
      {"dataset_system_field", "s"}, {"dataset_tools_field", "l"}, {"dataset_user_role", "u"}, {"dataset_assistant_role", "a"},
      {"dataset_system_role", "y"}, {"dataset_tool_role", "b"}};
  return values;
}

struct Translated {
  const char* written;
  const char* read;
};

std::vector<Translated> translations(const Alias& alias) {
  switch (alias.translate) {
    case Translate::kSame: {
      const auto at = samples().find(alias.canonical);
      if (at == samples().end()) return {};
      return {{at->second.c_str(), at->second.c_str()}};
    }
    case Translate::kNot: return {{"true", "false"}, {"false", "true"}};
    case Translate::kFourBits: return {{"4", "true"}};
    case Translate::kTrueIsBf16: return {{"true", "bfloat16"}, {"auto", "bfloat16"}, {"false", "float32"}};
    case Translate::kAllIsAllLinear:
      return {{"all", "all-linear"}, {"q_proj,v_proj", "[q_proj, v_proj]"}, {"q_proj , v_proj,", "[q_proj, v_proj]"}, {"[k_proj, o_proj]", "[k_proj, o_proj]"},
              {"up_proj", "up_proj"}, {"all-linear", "all-linear"}};
    case Translate::kTrueIsAllLinear: return {{"true", "all-linear"}};
    case Translate::kTrueIsAuto: return {{"true", "auto"}, {"false", "none"}};
    case Translate::kTrueIsNone: return {{"true", "none"}, {"false", "auto"}};
  }
  return {};
}

TEST(Aliases, EachIsReadAsItsKeyWithANote) {
  for (const Alias& alias : aliases()) {
    const std::vector<Translated> cases = translations(alias);
    EXPECT_FALSE(cases.empty()) << "no sample value for " << alias.name;
    for (const Translated& c : cases) {
      // eval_strategy needs data to evaluate on.
      const std::string rest = alias.canonical == "eval_strategy" ? "validation_split_ratio: 0.1\n" : "";
      const LoadedConfig loaded = load(std::string(alias.name) + ": " + c.written + "\n" + rest);
      EXPECT_EQ(value_of(loaded.config, alias.canonical), c.read) << alias.name << ": " << c.written;
      ASSERT_EQ(loaded.notes.size(), 1u) << alias.name;
      EXPECT_TRUE(contains(loaded.notes[0], "run.yaml:1:1: '" + std::string(alias.name) + "' is read as '" + std::string(alias.canonical) + ": "))
          << loaded.notes[0];
      EXPECT_EQ(loaded.origins.at(std::string(alias.canonical)), "run.yaml:1 as " + std::string(alias.name));
    }
  }
}

TEST(Aliases, TellTheCanonicalValueInTheNote) {
  const LoadedConfig loaded = load("train_on_inputs: false\nlora_target: q_proj,v_proj\n");
  ASSERT_EQ(loaded.notes.size(), 2u);
  EXPECT_TRUE(contains(loaded.notes[0], "'train_on_inputs' is read as 'assistant_only_loss: true'")) << loaded.notes[0];
  EXPECT_TRUE(contains(loaded.notes[1], "'lora_target' is read as 'lora_target_modules: [q_proj, v_proj]'")) << loaded.notes[1];
}

TEST(Aliases, RefuseValuesThatHaveNoMeaningHere) {
  const std::pair<const char*, const char*> cases[] = {
      {"train_on_inputs: yes\n", "run.yaml:1:18: train_on_inputs = yes is not true or false"},
      {"bf16: full\n", "run.yaml:1:7: bf16 = full is not true or false"},
      {"bf16: \"true\"\n", "run.yaml:1:7: bf16 = \"true\" is not true or false"},
      {"gradient_checkpointing: [true]\n", "run.yaml:1:26: gradient_checkpointing takes one value, not a list"},
      {"gradient_checkpointing: []\n", "run.yaml:1:1: gradient_checkpointing takes one value, not a list"},
      {"quantization_bit: 8\n", "run.yaml:1:19: quantization_bit: only 4 is available; for an unquantized base write load_in_4bit: false"},
      {"lora_target_linear: false\n", "run.yaml:1:21: lora_target_linear: only true has a meaning here; else list the modules in lora_target_modules"},
      {"lora_rank: 0\n", "run.yaml:1:12: lora_r = 0 is outside 1..1024"},
      {"target_modules: \",\"\n", "lora_target_modules is empty"},
  };
  for (const auto& [yaml, said] : cases) EXPECT_TRUE(contains(refusal(yaml), said)) << refusal(yaml);
}

TEST(Aliases, AreRefusedBesideTheirKeyAndBesideEachOther) {
  EXPECT_EQ(refusal("max_length: 8\ncutoff_len: 9\n"), "run.yaml:2:1: 'max_length' is set twice: also in line 1 ('cutoff_len' is another name of it); keep one of them");
  EXPECT_TRUE(contains(refusal("cutoff_len: 8\nmax_length: 9\n"), "run.yaml:2:1: 'max_length' is set twice: also in line 1"));
  EXPECT_TRUE(contains(refusal("cutoff_len: 8\nsequence_len: 9\n"), "run.yaml:2:1: 'max_length' is set twice"));
  EXPECT_EQ(load("cutoff_len: 8\n", {"max_length=9"}).config.max_length, 9);
}

TEST(KnownElsewhere, IsRefusedWithAdvice) {
  for (const KnownElsewhere& other : known_elsewhere()) {
    const std::string said = refusal(std::string(other.name) + ": true\n");
    EXPECT_EQ(said, "run.yaml:1:1: '" + std::string(other.name) + "' is a key of other trainers that nibble does not have: " + std::string(other.advice));
    EXPECT_GT(other.advice.size(), 20u) << other.name;
  }
}

}  // namespace
}  // namespace nibble::schema
