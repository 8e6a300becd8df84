#include "trainer/from_config.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "trainer/plan_search.h"
#include "trainer/train_step.h"

namespace nibble::trainer {
namespace {

data::DataOptions data_options(const schema::RunConfig& config) {
  data::DataOptions options;
  options.format = config.dataset_format;
  options.chat_template = template_request(config);
  options.max_length = config.max_length;
  options.truncation = config.truncation;
  options.packing = config.packing;
  options.packing_strategy = config.packing_strategy;
  options.assistant_only_loss = config.assistant_only_loss;
  options.completion_only_loss = config.completion_only_loss;
  options.train_on_last_turn_only = config.train_on_last_turn_only;
  options.split_special_tokens = config.split_special_tokens;
  options.fields = config.field_names;
  options.seed = static_cast<uint64_t>(config.seed);
  options.max_bad_rows = config.max_bad_rows;
  return options;
}

}  // namespace

at::ScalarType compute_dtype(const schema::RunConfig& config) {
  switch (config.bnb_4bit_compute_dtype) {
    case ComputeDtype::kBfloat16: return at::kBFloat16;
    case ComputeDtype::kFloat32: return at::kFloat;
  }
  return at::kBFloat16;
}

std::optional<quant::QuantConfig> quant_config(const schema::RunConfig& config) {
  if (!config.load_in_4bit) return std::nullopt;
  return quant::QuantConfig{config.bnb_4bit_quant_type, config.bnb_4bit_blocksize, config.bnb_4bit_use_double_quant};
}

nn::LoraConfig lora_config(const schema::RunConfig& config) {
  nn::LoraConfig lora;
  lora.r = config.lora_r;
  lora.alpha = config.lora_alpha;
  lora.dropout = config.lora_dropout;
  lora.use_rslora = config.use_rslora;
  if (config.lora_target_modules.size() == 1 && config.lora_target_modules[0] == "all-linear") return lora;
  lora.targets.clear();
  for (int p = 0; p < nn::kProjections; ++p) {
    const auto projection = static_cast<nn::Projection>(p);
    const std::string name(nn::projection_name(projection));
    if (std::count(config.lora_target_modules.begin(), config.lora_target_modules.end(), name) > 0) lora.targets.push_back(projection);
  }
  return lora;
}

optim::OptimizerConfig optimizer_config(const schema::RunConfig& config) {
  return {{config.adam_beta1, config.adam_beta2, config.adam_epsilon, config.weight_decay}, config.optim};
}

int64_t loss_chunk_tokens(const schema::RunConfig& config) {
  constexpr int64_t kUsual = 256;
  return config.loss_chunk_tokens > 0 ? config.loss_chunk_tokens : kUsual;
}

data::TemplateRequest template_request(const schema::RunConfig& config) {
  data::TemplateRequest request;
  request.choice = config.chat_template_path;
  if (has_template_affixes(config)) {
    request.affixes = {config.chat_template_system_prefix, config.chat_template_system_suffix, config.chat_template_user_prefix,
                       config.chat_template_user_suffix, config.chat_template_assistant_prefix, config.chat_template_assistant_suffix};
  }
  if (config.enable_thinking != AutoSwitch::kAuto) request.enable_thinking = config.enable_thinking == AutoSwitch::kTrue;
  request.answers_needed = config.assistant_only_loss;
  return request;
}

data::DataOptions train_data_options(const schema::RunConfig& config) {
  data::DataOptions options = data_options(config);
  options.files.assign(config.train_file.begin(), config.train_file.end());
  options.weights = config.train_file_weights;
  options.validation_split_ratio = config.validation_split_ratio;
  return options;
}

data::DataOptions validation_data_options(const schema::RunConfig& config) {
  data::DataOptions options = data_options(config);
  options.files.assign(config.validation_file.begin(), config.validation_file.end());
  return options;
}

data::CacheOptions data_cache_options(const schema::RunConfig& config) {
  data::CacheOptions cache;
  cache.keep = config.dataset_cache;
  cache.folder = config.dataset_prepared_path;
  if (!config.output_dir.empty()) cache.temporary = {config.output_dir};
  return cache;
}

data::BatchOrder batch_order(const schema::RunConfig& config) {
  data::BatchOrder order;
  if (config.group_by_length) order.group_rows = config.per_device_train_batch_size * config.gradient_accumulation_steps;
  return order;
}

int64_t total_steps(const schema::RunConfig& config, int64_t batches_per_epoch) {
  if (config.max_steps > 0) return config.max_steps;
  const auto per_epoch = static_cast<double>(steps_per_epoch(batches_per_epoch, config.gradient_accumulation_steps));
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(config.num_train_epochs * per_epoch)));
}

optim::ScheduleConfig schedule_config(const schema::RunConfig& config, int64_t total) {
  return {config.lr_scheduler_type, optim::warmup_steps(config.warmup_steps, config.warmup_ratio, total), total};
}

FixedChoices fixed_choices(const schema::RunConfig& config) {
  FixedChoices fixed;
  if (config.recompute != Recompute::kAuto) fixed.recompute = config.recompute;
  if (config.loss_chunk_tokens > 0) fixed.loss_chunk_tokens = config.loss_chunk_tokens;
  if (config.base_residency != BaseResidency::kAuto) fixed.streamed = config.base_residency == BaseResidency::kStreamed;
  if (config.offload_embedding != AutoSwitch::kAuto) fixed.offload_embedding = config.offload_embedding == AutoSwitch::kTrue;
  if (config.parallel_passes > 0) fixed.parallel_passes = config.parallel_passes;
  if (config.save_in_background != AutoSwitch::kAuto) fixed.background_save = config.save_in_background == AutoSwitch::kTrue;
  if (config.paged_budget_mib > 0) fixed.paged_budget_bytes = config.paged_budget_mib << 20;
  return fixed;
}

PlanInput plan_input(const schema::RunConfig& config, const nn::ModelConfig& model, int64_t pass_tokens) {
  PlanInput input;
  input.model = model;
  input.load_in_4bit = config.load_in_4bit;
  if (config.load_in_4bit) input.quant = *quant_config(config);
  input.mlp_chunk_tokens = config.mlp_chunk_tokens;
  input.cuda_graphs = config.cuda_graphs == AutoSwitch::kTrue;
  input.element_bytes = static_cast<int64_t>(at::elementSize(compute_dtype(config)));
  const nn::LoraConfig lora = lora_config(config);
  input.head_in_4bit = config.load_in_4bit && config.lm_head_load_in_4bit;
  input.lora_r = lora.r;
  input.lora_targets = lora.targets;
  input.lora_dropout = lora.dropout > 0;
  input.optimizer = optimizer_config(config);
  input.pass_tokens = pass_tokens;
  input.cores = at::get_num_threads();
  input.accumulation_steps = config.gradient_accumulation_steps;
  input.saves_midway = config.save_steps > 0 && (config.max_steps < 0 || config.save_steps < config.max_steps);
  input.fixed = fixed_choices(config);
  input.choices = fastest_choices(input);
  return input;
}

}  // namespace nibble::trainer
