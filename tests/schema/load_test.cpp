// Reading a configuration: types, ranges, rules between keys, paths, overrides, and how all findings are told.
#include "schema/load.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/schema/fixtures.h"

namespace nibble::schema {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

TEST(LoadRunConfig, ReadsEveryTypeAndItsOrigin) {
  const LoadedConfig loaded = load("lora_r: 8\nlearning_rate: 1e-3\npacking: false\nlr_scheduler_type: linear\nlora_target_modules: [q_proj, v_proj]\n");
  EXPECT_EQ(loaded.config.lora_r, 8);
  EXPECT_EQ(loaded.config.learning_rate, 1e-3);
  EXPECT_FALSE(loaded.config.packing);
  EXPECT_EQ(loaded.config.lr_scheduler_type, Schedule::kLinear);
  EXPECT_EQ(loaded.config.lora_target_modules, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(loaded.origins.at("learning_rate"), "run.yaml:2");
  EXPECT_FALSE(loaded.origins.contains("lora_alpha"));
  EXPECT_TRUE(loaded.notes.empty());
}

TEST(LoadRunConfig, RefusesWhatYamlReadersGuessAt) {
  const std::pair<const char*, const char*> cases[] = {
      {"lora_r: 010", "lora_r = 010 is not a whole number"},     {"lora_r: 0x1F", "lora_r = 0x1F is not a whole number"},
      {"lora_r: 1e3", "lora_r = 1e3 is not a whole number"},     {"lora_r: 8.0", "lora_r = 8.0 is not a whole number"},
      {"lora_r: \"5\"", "lora_r = \"5\" is not a whole number"}, {"lora_r:", "lora_r = (empty) is not a whole number"},
      {"lora_r: null", "lora_r = (empty) is not a whole number"}, {"lora_r: ~", "lora_r = (empty) is not a whole number"},
      {"lora_r: 99999999999999999999", "is not a whole number"},
      {"packing: yes", "packing = yes is not true or false"},    {"packing: no", "packing = no is not true or false"},
      {"packing: True", "packing = True is not true or false"},  {"packing: ON", "packing = ON is not true or false"},
      {"packing: 1", "packing = 1 is not true or false"},        {"packing: 'true'", "packing = \"true\" is not true or false"},
      {"learning_rate: inf", "learning_rate = inf is not a number"}, {"learning_rate: .nan", "learning_rate = .nan is not a number"},
      {"learning_rate: 2e-4x", "is not a number"},               {"learning_rate: '0.1'", "learning_rate = \"0.1\" is not a number"},
      {"optim: adamw", "optim = adamw is not one of adamw_torch"}, {"output_dir:", "output_dir = (empty) is not a text"},
      {"lora_r: [8]", "lora_r takes one value, not a list"},     {"output_dir: \"a\\0b\"", "NUL byte"},
      {"train_file: ['']", "train_file: an empty text names nothing"}, {"train_file: \"\"", "train_file: an empty text names nothing"},
      {"train_file:", "train_file = (empty) is not a text"},
  };
  for (const auto& [yaml, said] : cases) {
    EXPECT_TRUE(contains(refusal(std::string(yaml) + "\n"), said)) << yaml << ": " << refusal(std::string(yaml) + "\n");
    EXPECT_TRUE(contains(refusal(std::string(yaml) + "\n"), "run.yaml:1:")) << yaml;
  }
}

TEST(LoadRunConfig, TakesEachNumberFormWhereANumberIsWanted) {
  EXPECT_EQ(load("learning_rate: 2e-4\n").config.learning_rate, 2e-4);
  EXPECT_EQ(load("lora_alpha: 1e3\n").config.lora_alpha, 1000);
  EXPECT_EQ(load("lora_dropout: .5\n").config.lora_dropout, 0.5);
  EXPECT_EQ(load("lora_alpha: 16\n").config.lora_alpha, 16);
}

TEST(LoadRunConfig, TellsARangeWithItsReason) {
  EXPECT_EQ(refusal("lora_r: 0\n"), "run.yaml:1:9: lora_r = 0 is outside 1..1024 (rank of the update; adapter size grows linearly)");
  EXPECT_TRUE(contains(refusal("max_length: 1\n"), "max_length = 1 is outside 2..1048576 tokens ("));
  EXPECT_TRUE(contains(refusal("lora_dropout: 1\n"), "lora_dropout = 1 is outside 0..0.99 ("));
  EXPECT_TRUE(contains(refusal("lora_r: -9223372036854775808\n"), "is outside 1..1024"));
}

// Both ends of every range are inside, and the next value is outside.
TEST(LoadRunConfig, ChecksBothEndsOfEveryRange) {
  const RunConfig defaults;
  auto check = [&](const char* name, const auto& value, const Field& field) {
    using T = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double>) {
      ASSERT_LE(field.min, static_cast<double>(value)) << name;
      ASSERT_GE(field.max, static_cast<double>(value)) << name;
      const auto below = static_cast<T>(field.min - 1), above = static_cast<T>(field.max + 2);
      for (const T outside : {below, above}) {
        const std::string said = refusal(fmt::format("{}: {}\n", name, outside));
        EXPECT_TRUE(contains(said, fmt::format("run.yaml:1:{}: {} = {} is outside ", std::string(name).size() + 3, name, outside))) << said;
      }
      for (const T inside : {static_cast<T>(field.min), static_cast<T>(field.max)}) {
        EXPECT_FALSE(contains(refusal(fmt::format("{}: {}\n", name, inside)), "is outside")) << name;
      }
    }
  };
  RunConfig::describe(defaults, check);
}

TEST(LoadRunConfig, TellsAllFindingsAtOnceInTheFilesOrder) {
  const std::vector<std::string> said = lines_of(refusal(
      "lora_r: 0\nleraning_rate: 1\npacking: yes\nseed: {a: 1}\nlora_r: 4\ndeepspeed: x\n{\n"));
  ASSERT_GE(said.size(), 6u);
  EXPECT_TRUE(said[0].starts_with("run.yaml:1:9: lora_r = 0")) << said[0];
  EXPECT_EQ(said[1], "run.yaml:2:1: error: unknown key 'leraning_rate'; did you mean 'learning_rate'?");
  EXPECT_TRUE(said[2].starts_with("run.yaml:3:10: error: packing = yes")) << said[2];
  EXPECT_TRUE(said[3].starts_with("run.yaml:4:7: error: keys are flat")) << said[3];
  EXPECT_EQ(said[4], "run.yaml:5:1: error: key 'lora_r' is already set in line 1; keep one of them");
  EXPECT_TRUE(said[5].starts_with("run.yaml:6:1: error: 'deepspeed' is a key of other trainers")) << said[5];
}

TEST(LoadRunConfig, GivesTheFirstFindingAsTheErrorsPlace) {
  const Folder folder;
  try {
    load_run_config(folder.write("{seed: 1, lora_r: 0, max_length: 0}\n"), {}, Needs::kNothing);
    FAIL() << "accepted";
  } catch (const ConfigError& e) {
    EXPECT_EQ(e.place().file, folder / "run.yaml");
    EXPECT_EQ(e.place().line, 1);
    EXPECT_EQ(e.place().column, 19);
    EXPECT_EQ(e.exit_code(), ExitCode::kUsage);
  }
}

TEST(LoadRunConfig, StopsListingAfterTwoHundredFindings) {
  std::string yaml;
  for (int i = 0; i < 5000; ++i) yaml += fmt::format("unknown_{}: 1\n", i);
  const std::vector<std::string> said = lines_of(refusal(yaml));
  EXPECT_EQ(said.size(), 201u);
  EXPECT_EQ(said.back(), "run.yaml: error: and 800 findings more");
}

TEST(LoadRunConfig, AsksForWhatTheCommandNeeds) {
  EXPECT_EQ(refusal(""), "accepted");
  EXPECT_TRUE(contains(refusal("", {}, Needs::kModel), "model_name_or_path is missing"));
  EXPECT_FALSE(contains(refusal("", {}, Needs::kModel), "train_file"));
  EXPECT_EQ(lines_of(refusal("", {}, Needs::kTraining)).size(), 3u);
  EXPECT_EQ(refusal("model_name_or_path: m\noutput_dir: o\ntrain_file: t\n", {}, Needs::kTraining), "accepted");
}

TEST(LoadRunConfig, ChecksRulesBetweenKeys) {
  const std::pair<const char*, const char*> cases[] = {
      {"bnb_4bit_blocksize: 96\n", "run.yaml:1:21: bnb_4bit_blocksize = 96 is not a power of two"},
      {"lora_target_modules: []\n", "lora_target_modules is empty"},
      {"lora_target_modules: [q_proj, head]\n", "lora_target_modules: 'head' is not all-linear (alone) or one of q_proj, k_proj"},
      {"lora_target_modules: [all-linear, q_proj]\n", "'all-linear' is not all-linear (alone)"},
      {"lora_target_modules: [q_proj, k_proj, q_proj]\n", "lora_target_modules: 'q_proj' is listed twice"},
      {"eval_strategy: steps\n", "run.yaml:1:16: eval_strategy needs evaluation data"},
      {"validation_file: v\nvalidation_split_ratio: 0.1\n", "validation_file and validation_split_ratio are both set"},
      {"train_file: [a, b]\ntrain_file_weights: [1]\n", "run.yaml:2:22: train_file_weights has 1 numbers and train_file 2 files"},
      {"train_file: [a, b]\ntrain_file_weights: [1, -0.5]\n", "run.yaml:2:25: train_file_weights = -0.5 is outside 0..1000"},
      {"train_file: [a, b]\ntrain_file_weights: [1, two]\n", "train_file_weights = two is not a number"},
      {"group_by_length: true\n", "group_by_length is for rows of one document"},
      {"group_by_length: true\npacking: false\nshuffle: false\n", "but shuffle is false"},
      {"max_steps: 0\n", "max_steps = 0 trains nothing"},
      {"num_train_epochs: 0\n", "num_train_epochs = 0 trains nothing"},
      {"lora_alpha: 0\n", "lora_alpha = 0 trains nothing"},
      {"assistant_only_loss: false\ntrain_on_last_turn_only: true\n", "run.yaml:2:26: train_on_last_turn_only trains on less"},
      {"dataset_format: messages\ncompletion_only_loss: true\n", "run.yaml:2:23: completion_only_loss: true is for prompt-completion rows, and dataset_format is messages"},
  };
  for (const auto& [yaml, said] : cases) EXPECT_TRUE(contains(refusal(yaml), said)) << refusal(yaml);
  EXPECT_EQ(refusal("train_file: a\ntrain_file_weights: 2\n"), "accepted") << "one file, one number";
  EXPECT_EQ(refusal("group_by_length: true\npacking: false\n"), "accepted");
  EXPECT_EQ(refusal("dataset_format: prompt-completion\ncompletion_only_loss: true\nassistant_only_loss: false\n"), "accepted");
  EXPECT_EQ(refusal("num_train_epochs: 0\nmax_steps: 5\n"), "accepted");
  EXPECT_EQ(refusal("eval_strategy: steps\nvalidation_split_ratio: 0.1\n"), "accepted");
}

TEST(LoadRunConfig, ReadsAFractionOfWarmupStepsAsARatio) {
  const LoadedConfig loaded = load("warmup_steps: 0.1\n");
  EXPECT_EQ(loaded.config.warmup_ratio, 0.1);
  EXPECT_EQ(loaded.config.warmup_steps, 0);
  ASSERT_EQ(loaded.notes.size(), 1u);
  EXPECT_TRUE(contains(refusal("warmup_steps: 0.1\nwarmup_ratio: 0.2\n"), "'warmup_ratio' is set twice"));
  EXPECT_TRUE(contains(refusal("warmup_steps: 1.5\n"), "is not a whole number"));
}

TEST(LoadRunConfig, ResolvesPathsAgainstTheFile) {
  const Folder folder;
  fs::create_directories(folder.path() / "sub" / "org" / "here");
  const fs::path file = folder.write("model_name_or_path: ../model\noutput_dir: out/./x\ntrain_file: [a.jsonl, /abs/b.jsonl]\nvalidation_file: c\n", "sub/x.yaml");
  const RunConfig c = load_run_config(file, {}, Needs::kTraining).config;
  EXPECT_EQ(c.model_name_or_path, folder / "model");
  EXPECT_EQ(c.output_dir, folder / "sub/out/x");
  EXPECT_EQ(c.train_file, (std::vector<std::string>{folder / "sub/a.jsonl", "/abs/b.jsonl"}));
  EXPECT_EQ(c.validation_file, (std::vector<std::string>{folder / "sub/c"}));
  folder.write("model_name_or_path: org/here\n", "sub/y.yaml");
  EXPECT_EQ(load_run_config(folder / "sub/y.yaml", {}, Needs::kNothing).config.model_name_or_path, folder / "sub/org/here");
}

TEST(LoadRunConfig, KeepsHubIdsThatAreNoPath) {
  EXPECT_EQ(load("model_name_or_path: org/some-model\n").config.model_name_or_path, "org/some-model");
  EXPECT_EQ(load("", {"model_name_or_path=org/some-model"}).config.model_name_or_path, "org/some-model");
  EXPECT_TRUE(fs::path(load("model_name_or_path: ./org/some-model\n").config.model_name_or_path).is_absolute() ||
              load("model_name_or_path: ./org/some-model\n").config.model_name_or_path == "org/some-model");
  EXPECT_TRUE(contains(load("output_dir: org/name\n").config.output_dir, "/org/name"));
}

TEST(LoadRunConfig, ReadsResumeAutoAsTrueAndRefusesAPathWithAdvice) {
  const LoadedConfig loaded = load("resume_from_checkpoint: auto\n");
  EXPECT_TRUE(loaded.config.resume_from_checkpoint);
  ASSERT_EQ(loaded.notes.size(), 1u);
  EXPECT_TRUE(contains(loaded.notes[0], "run.yaml:1:1: 'resume_from_checkpoint: auto' is read as 'resume_from_checkpoint: true'")) << loaded.notes[0];
  for (const char* path : {"runs/a/checkpoint-100", "checkpoint-100"}) {
    const std::string said = refusal(std::string("resume_from_checkpoint: ") + path + "\n");
    EXPECT_TRUE(contains(said, std::string("run.yaml:1:25: resume_from_checkpoint = ") + path + " is a path")) << said;
    EXPECT_TRUE(contains(said, "nibble resume RUN_DIR --from checkpoint-N")) << said;
  }
  EXPECT_TRUE(contains(refusal("resume_from_checkpoint: 1\n"), "resume_from_checkpoint = 1 is not true or false"));
}

TEST(LoadRunConfig, RefusesALargeFileBeforeReadingIt) {
  const Folder folder;
  const std::filesystem::path file = folder.write("seed: 1\n");
  std::filesystem::resize_file(file, uint64_t{1} << 40);  // sparse: no machine could read it into memory
  try {
    load_run_config(file, {}, Needs::kNothing);
    FAIL() << "accepted";
  } catch (const ConfigError& e) {
    EXPECT_TRUE(contains(e.message(), "the file has 1099511627776 bytes; a configuration has at most 1048576")) << e.message();
  }
}

TEST(LoadRunConfig, RefusesAMissingFileAndAFolder) {
  const Folder folder;
  EXPECT_THROW(load_run_config(folder.path() / "none.yaml", {}), ConfigError);
  EXPECT_THROW(load_run_config(folder.path(), {}), ConfigError);
}

TEST(Overrides, WinOverTheFileAndResolvePathsAgainstTheWorkingFolder) {
  const LoadedConfig loaded = load("lora_r: 4\noutput_dir: a\n", {"lora_r=8", "output_dir=b", "train_file=[x, \"y z\"]", "lora_r=16", "packing=false"});
  EXPECT_EQ(loaded.config.lora_r, 16);
  EXPECT_FALSE(loaded.config.packing);
  EXPECT_EQ(loaded.config.output_dir, (fs::current_path() / "b").string());
  EXPECT_EQ(loaded.config.train_file, (std::vector<std::string>{(fs::current_path() / "x").string(), (fs::current_path() / "y z").string()}));
  EXPECT_EQ(loaded.origins.at("lora_r"), "--set");
}

TEST(Overrides, TakeAliasesAndTextWithEqualsSigns) {
  const LoadedConfig loaded = load_overrides({"lora_rank=3", "output_dir=/a=b"}, Needs::kNothing);
  EXPECT_EQ(loaded.config.lora_r, 3);
  EXPECT_EQ(loaded.config.output_dir, "/a=b");
  EXPECT_EQ(loaded.origins.at("lora_r"), "--set as lora_rank");
  ASSERT_EQ(loaded.notes.size(), 1u);
  EXPECT_TRUE(contains(loaded.notes[0], "--set lora_rank=3: 'lora_rank' is read as 'lora_r: 3'"));
}

TEST(Overrides, AreRefusedWithTheArgumentAsTheirPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"lora_r", "--set lora_r: write --set key=value"},
      {"=5", "--set =5: write --set key=value"},
      {"", "--set : write --set key=value"},
      {"lora_r=", "--set lora_r=: lora_r = (empty) is not a whole number"},
      {"lora_r=0", "--set lora_r=0: lora_r = 0 is outside 1..1024"},
      {"lora_rr=1", "--set lora_rr=1: unknown key 'lora_rr'; did you mean 'lora_r'?"},
      {"seed=[1", "not valid YAML"},
      {"seed={a: 1}", "keys are flat"},
      {"seed=&x 1", "anchors"},
      {"seed=1\nlora_r: 0", "not one value"},
      {"seed=1\n---\na: 1", "more than one document"},
      {"seed='1", "not valid YAML"},
  };
  for (const auto& [text, said] : cases) EXPECT_TRUE(contains(refusal("", {text}), said)) << refusal("", {text});
}

TEST(Overrides, AreToldTogetherWithTheFilesFindings) {
  const std::vector<std::string> said = lines_of(refusal("lora_r: 0\n", {"seed=x", "packing=1"}));
  EXPECT_EQ(said.size(), 3u);
}

TEST(ResumeKeys, AreThoseThatChangeTheNumbers) {
  const RunConfig defaults;
  std::vector<std::string> names;
  for (const auto& [name, value] : resume_keys(defaults)) {
    names.push_back(name);
    EXPECT_FALSE(value.empty()) << name;
  }
  EXPECT_EQ(names, (std::vector<std::string>{
      "model_name_or_path", "load_in_4bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_blocksize", "bnb_4bit_compute_dtype", "lm_head_load_in_4bit",
      "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "use_rslora", "train_file_weights", "validation_split_ratio", "dataset_format",
      "dataset_text_field", "dataset_messages_field", "dataset_role_field", "dataset_content_field", "dataset_train_field",
      "dataset_prompt_field", "dataset_completion_field", "dataset_instruction_field", "dataset_input_field", "dataset_output_field",
      "dataset_history_field", "dataset_system_field", "dataset_tools_field", "dataset_user_role", "dataset_assistant_role",
      "dataset_system_role", "dataset_tool_role",
      "chat_template_path", "chat_template_system_prefix", "chat_template_system_suffix", "chat_template_user_prefix", "chat_template_user_suffix",
      "chat_template_assistant_prefix", "chat_template_assistant_suffix", "enable_thinking", "assistant_only_loss", "completion_only_loss", "train_on_last_turn_only",
      "split_special_tokens", "max_length", "truncation", "packing", "packing_strategy", "group_by_length", "shuffle",
      "per_device_train_batch_size", "gradient_accumulation_steps",
      "num_train_epochs", "max_steps", "learning_rate", "lr_scheduler_type", "warmup_ratio", "warmup_steps", "optim", "adam_beta1", "adam_beta2",
      "adam_epsilon", "weight_decay", "max_grad_norm", "loss_chunk_tokens", "mlp_chunk_tokens", "device", "seed"}));
}

TEST(ResumeKeys, ShowAChangedValueInItsPlaceOnly) {
  RunConfig changed;
  changed.lora_r = 5;
  const auto before = resume_keys(RunConfig()), after = resume_keys(changed);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(before[i] != after[i], before[i].first == "lora_r") << before[i].first;
}

}  // namespace
}  // namespace nibble::schema
