// The configuration as text: what is printed reads back as the same, and the documents name every key.
#include "schema/print.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "schema/aliases.h"
#include "tests/schema/fixtures.h"

namespace nibble::schema {
namespace {

using nlohmann::json;

// The same configuration, from the text that was printed of it, read in another folder.
RunConfig read_back(const RunConfig& config) {
  LoadedConfig loaded;
  loaded.config = config;
  return load(effective_yaml(loaded)).config;
}

TEST(EffectiveYaml, ReadsBackAsTheDefaults) {
  EXPECT_EQ(config_json(read_back(RunConfig())), config_json(RunConfig()));
}

TEST(EffectiveYaml, ReadsBackWithEveryKeyChanged) {
  const LoadedConfig loaded = load(
      "model_name_or_path: /m\nadapter_name_or_path: /a\noutput_dir: /o\nload_in_4bit: false\nbnb_4bit_quant_type: fp4\nbnb_4bit_use_double_quant: false\n"
      "bnb_4bit_blocksize: 128\nbnb_4bit_compute_dtype: float32\nlora_r: 7\nlora_alpha: 0.1\nlora_dropout: 0.05\nlora_target_modules: [q_proj, up_proj]\n"
      "use_rslora: true\ntrain_file: [/t1, /t2]\ntrain_file_weights: [0.5, 2]\nvalidation_file: /v\ndataset_format: text\nenable_thinking: true\nchat_template_system_prefix: \"s\\n\"\nchat_template_system_suffix: \" \"\nchat_template_user_prefix: u\n"
      "chat_template_user_suffix: \"</s>\"\nchat_template_assistant_prefix: a\nchat_template_assistant_suffix: \"<e>\\n\"\nassistant_only_loss: false\n"
      "completion_only_loss: false\nsplit_special_tokens: false\ndataset_text_field: text_field\ndataset_messages_field: messages_field\ndataset_role_field: role_field\ndataset_content_field: content_field\ndataset_train_field: train_field\ndataset_prompt_field: prompt_field\n"
      "dataset_completion_field: completion_field\ndataset_instruction_field: instruction_field\ndataset_input_field: input_field\ndataset_output_field: output_field\ndataset_history_field: history_field\ndataset_system_field: system_field\n"
      "dataset_tools_field: tools_field\ndataset_user_role: user_role\ndataset_assistant_role: assistant_role\ndataset_system_role: system_role\ndataset_tool_role: tool_role\n"
      "max_length: 77\ntruncation: drop\npacking: false\npacking_strategy: bfd\nshuffle: false\nmax_bad_rows: 3\ndataset_cache: false\ndataset_prepared_path: /d\nper_device_train_batch_size: 3\nper_device_eval_batch_size: 4\n"
      "gradient_accumulation_steps: 5\nnum_train_epochs: 1.5\nmax_steps: 9\nlearning_rate: 3e-5\nlr_scheduler_type: constant_with_warmup\n"
      "warmup_ratio: 0.1\nwarmup_steps: 11\nadam_beta1: 0.8\nadam_beta2: 0.95\nadam_epsilon: 1e-30\nweight_decay: 0.01\nmax_grad_norm: 1\n"
      "max_memory: 5.7GiB\nlm_head_load_in_4bit: true\nrecompute: mlp\nloss_chunk_tokens: 13\nbase_residency: streamed\npacked_cache: false\npacked_cache_dir: /c\n"
      "offload_embedding: true\nmlp_chunk_tokens: 64\nparallel_passes: 2\nworst_step_first: true\ndevice: cpu\ncuda_graphs: true\npaged_budget_mib: 31\npaged_oversubscribe: true\neval_strategy: epoch\neval_steps: 17\nlogging_steps: 19\nsave_steps: 23\nsave_total_limit: 29\n"
      "save_in_background: false\nresume_from_checkpoint: true\nmax_time: 11h30m\nnan_policy: rewind\nmax_skipped_steps: 31\nloss_spike_policy: stop\nloss_spike_threshold: 6.5\nseed: 9007199254740991\n");
  const std::string text = effective_yaml(loaded);
  EXPECT_EQ(config_json(load(text).config), config_json(loaded.config));
  // optim, report_to, validation_split_ratio, group_by_length and train_on_last_turn_only have no other value here; chat_template_path is instead of the affixes.
  size_t defaults = 0;
  for (size_t at = 0; (at = text.find("  # default\n", at)) != text.npos; ++at) ++defaults;
  EXPECT_EQ(defaults, 6u) << text;
}

TEST(EffectiveYaml, ReadsBackTextsOfEveryKind) {
  for (const char* name : {"/a b", "/a#b", "/a #b", "/a: b", "/\"a\"", "/'a'", "/back\\slash", "/é/日本/😀", "/tab\there", "/line\nbreak", "/[a]", "/{a}", "/a,b",
                           "/%a", "/@", "/a:", "/a?", "/~", "/ trailing ", "/\x01\x7f", "/nul l", "/*a", "/&a", "/!a", "/|", "/>", "/\xC2\x85", "/\xE2\x80\xA8"}) {
    RunConfig config;
    config.output_dir = name;
    config.train_file = {name, "/b", name};
    config.validation_file = {name};
    const RunConfig back = read_back(config);
    EXPECT_EQ(back.output_dir, name);
    EXPECT_EQ(back.train_file, config.train_file);
    EXPECT_EQ(back.validation_file, config.validation_file);
  }
  RunConfig config;
  config.model_name_or_path = "org/name";
  EXPECT_EQ(read_back(config).model_name_or_path, "org/name");
}

TEST(EffectiveYaml, TellsWhereEachValueComesFrom) {
  const std::string text = effective_yaml(load("lora_rank: 8\nseed: 1\n", {"max_length=64"}));
  EXPECT_TRUE(contains(text, "\nlora_r: 8  # run.yaml:1 as lora_rank\n")) << text;
  EXPECT_TRUE(contains(text, "\nseed: 1  # run.yaml:2\n"));
  EXPECT_TRUE(contains(text, "\nmax_length: 64  # --set\n"));
  EXPECT_TRUE(contains(text, "\nlora_alpha: 32  # default\n"));
  EXPECT_TRUE(text.starts_with("# Model\n"));
}

TEST(EffectiveYaml, KeepsAFileNameWithALineBreakInItsComment) {
  const Folder folder;
  const std::string text = effective_yaml(load_run_config(folder.write("seed: 1\n", "a\nlora_r: 3\n.yaml"), {}, Needs::kNothing));
  EXPECT_EQ(load(text).config.lora_r, RunConfig().lora_r);
}

TEST(ConfigDocs, HasOneRowOfFiveCellsForEveryKey) {
  const std::string docs = config_docs();
  for (const std::string& key : key_names()) {
    const size_t at = docs.find("\n| `" + key + "` | ");
    ASSERT_NE(at, docs.npos) << key;
    const std::string row = docs.substr(at + 1, docs.find('\n', at + 1) - at - 1);
    EXPECT_EQ(std::count(row.begin(), row.end(), '|'), 6) << row;
    EXPECT_EQ(docs.find("\n| `" + key + "` | ", at + 1), docs.npos) << key;
  }
  for (const Alias& alias : aliases()) EXPECT_TRUE(contains(docs, "`" + std::string(alias.name) + "`")) << alias.name;
  for (const KnownElsewhere& other : known_elsewhere()) EXPECT_TRUE(contains(docs, "| `" + std::string(other.name) + "` |")) << other.name;
  EXPECT_TRUE(contains(docs, "| `lora_r` | `16` | 1..1024 | rank of the update; adapter size grows linearly *(fixed)* | `lora_rank` |"));
  EXPECT_TRUE(contains(docs, "| `max_length` | `1024` | 2..1048576 tokens |"));
}

TEST(ConfigJsonSchema, DescribesEveryKeyAndAlias) {
  const json schema = json::parse(config_json_schema());
  EXPECT_EQ(schema["additionalProperties"], false);
  EXPECT_EQ(schema["properties"].size(), key_names().size() + aliases().size());
  const json& lora_r = schema["properties"]["lora_r"];
  EXPECT_EQ(lora_r["type"], "integer");
  EXPECT_EQ(lora_r["minimum"], 1);
  EXPECT_EQ(lora_r["maximum"], 1024);
  EXPECT_EQ(lora_r["default"], 16);
  EXPECT_EQ(schema["properties"]["lr_scheduler_type"]["enum"], (json{"linear", "cosine", "constant", "constant_with_warmup"}));
  EXPECT_EQ(schema["properties"]["lora_rank"]["deprecated"], true);
  for (const std::string& key : key_names()) {
    const json& property = schema["properties"][key];
    EXPECT_TRUE(property.contains("default")) << key;
    EXPECT_GT(property["description"].get<std::string>().size(), 8u) << key;
    EXPECT_TRUE(property.contains("type") || property.contains("enum") || property.contains("oneOf") || property.contains("anyOf")) << key;
  }
}

TEST(ConfigJson, HasEveryKeyWithItsType) {
  const json out = json::parse(config_json(load("lora_target_modules: [q_proj, v_proj]\n").config));
  EXPECT_EQ(out.size(), key_names().size());
  EXPECT_EQ(out["lora_r"], 16);
  EXPECT_EQ(out["packing"], true);
  EXPECT_EQ(out["learning_rate"], 2e-4);
  EXPECT_EQ(out["optim"], "adamw_torch");
  EXPECT_EQ(out["lora_target_modules"], (json{"q_proj", "v_proj"}));
}

}  // namespace
}  // namespace nibble::schema
