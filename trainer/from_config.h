// The configuration in each module's own terms: the one place where keys become options.
#pragma once

#include <optional>
#include <vector>

#include "data/data_options.h"
#include "data/sampler.h"
#include "nn/lora.h"
#include "optim/optimizer_config.h"
#include "optim/schedule.h"
#include "quant/layout.h"
#include "schema/run_config.h"
#include "tensor/torch.h"
#include "trainer/memory_plan.h"

namespace nibble::trainer {

at::ScalarType compute_dtype(const schema::RunConfig& config);
std::optional<quant::QuantConfig> quant_config(const schema::RunConfig& config);  // nullopt: load_in_4bit is false
nn::LoraConfig lora_config(const schema::RunConfig& config);
optim::OptimizerConfig optimizer_config(const schema::RunConfig& config);
// Rows of logits held at a time where nothing was planned: loss_chunk_tokens, or its usual value.
int64_t loss_chunk_tokens(const schema::RunConfig& config);
// How conversations are written. Answers are needed where only they are learned.
data::TemplateRequest template_request(const schema::RunConfig& config);
data::DataOptions train_data_options(const schema::RunConfig& config);
data::DataOptions validation_data_options(const schema::RunConfig& config);
data::CacheOptions data_cache_options(const schema::RunConfig& config);  // without callbacks
data::BatchOrder batch_order(const schema::RunConfig& config);

// Optimizer steps of the whole run: max_steps, or num_train_epochs passes over the data.
int64_t total_steps(const schema::RunConfig& config, int64_t batches_per_epoch);
optim::ScheduleConfig schedule_config(const schema::RunConfig& config, int64_t total_steps);

// What the configuration leaves to the planner has no value.
FixedChoices fixed_choices(const schema::RunConfig& config);
// For passes of at most `pass_tokens` tokens. On the CPU; with the choices that are
// fastest where memory does not matter, until search_plan has made others.
PlanInput plan_input(const schema::RunConfig& config, const nn::ModelConfig& model, int64_t pass_tokens);

}  // namespace nibble::trainer
