#include "schema/aliases.h"

#include <array>

namespace nibble::schema {
namespace {

constexpr auto kAliases = std::to_array<Alias>({
    // axolotl
    {"base_model", "model_name_or_path"},
    {"sequence_len", "max_length"},
    {"sample_packing", "packing"},
    {"micro_batch_size", "per_device_train_batch_size"},
    {"eval_batch_size", "per_device_eval_batch_size"},
    {"num_epochs", "num_train_epochs"},
    {"lr_scheduler", "lr_scheduler_type"},
    {"optimizer", "optim"},
    {"lora_target_linear", "lora_target_modules", Translate::kTrueIsAllLinear},
    {"peft_use_rslora", "use_rslora"},
    {"lora_model_dir", "adapter_name_or_path"},
    {"train_on_inputs", "assistant_only_loss", Translate::kNot},
    {"field_messages", "dataset_messages_field"},
    {"message_field_role", "dataset_role_field"},
    {"message_field_content", "dataset_content_field"},
    {"message_field_training", "dataset_train_field"},
    {"field_instruction", "dataset_instruction_field"},
    {"field_input", "dataset_input_field"},
    {"field_output", "dataset_output_field"},
    {"field_system", "dataset_system_field"},
    {"field_tools", "dataset_tools_field"},
    {"excess_length_strategy", "truncation"},
    {"chat_template", "chat_template_path"},
    {"val_set_size", "validation_split_ratio"},
    {"auto_resume_from_checkpoints", "resume_from_checkpoint"},
    {"bf16", "bnb_4bit_compute_dtype", Translate::kTrueIsBf16},
    // LLaMA-Factory
    {"quantization_bit", "load_in_4bit", Translate::kFourBits},
    {"quantization_type", "bnb_4bit_quant_type"},
    {"double_quantization", "bnb_4bit_use_double_quant"},
    {"lora_rank", "lora_r"},
    {"lora_target", "lora_target_modules", Translate::kAllIsAllLinear},
    {"cutoff_len", "max_length"},
    {"neat_packing", "packing"},
    {"tokenized_path", "dataset_prepared_path"},
    {"template", "chat_template_path"},
    {"train_on_prompt", "assistant_only_loss", Translate::kNot},
    {"mask_history", "train_on_last_turn_only"},
    {"role_tag", "dataset_role_field"},
    {"content_tag", "dataset_content_field"},
    {"user_tag", "dataset_user_role"},
    {"assistant_tag", "dataset_assistant_role"},
    {"system_tag", "dataset_system_role"},
    {"observation_tag", "dataset_tool_role"},
    {"val_size", "validation_split_ratio"},
    {"disable_gradient_checkpointing", "recompute", Translate::kTrueIsNone},
    // Unsloth
    {"model", "model_name_or_path"},
    {"model_name", "model_name_or_path"},
    {"max_seq_length", "max_length"},
    {"target_modules", "lora_target_modules", Translate::kAllIsAllLinear},
    {"batch_size", "per_device_train_batch_size"},
    {"train_on_completions", "assistant_only_loss"},
    {"random_seed", "seed"},
    // TRL, Hugging Face
    {"use_bnb_nested_quant", "bnb_4bit_use_double_quant"},
    {"evaluation_strategy", "eval_strategy"},
    {"gradient_checkpointing", "recompute", Translate::kTrueIsAuto},
    {"truncation_strategy", "truncation"},
    // Surogate
    {"qlora_bnb", "load_in_4bit"},
    {"qlora_bnb_double_quant", "bnb_4bit_use_double_quant"},
    {"adamw_beta1", "adam_beta1"},
    {"adamw_beta2", "adam_beta2"},
    {"adamw_epsilon", "adam_epsilon"},
    {"train_seed", "seed"},
});

constexpr auto kElsewhere = std::to_array<KnownElsewhere>({
    {"use_dora", "nibble trains LoRA and rsLoRA; remove the key or use PEFT for DoRA"},
    {"peft_use_dora", "nibble trains LoRA and rsLoRA; remove the key or use PEFT for DoRA"},
    {"init_lora_weights", "adapters start as PEFT's default does; remove the key"},
    {"peft_init_lora_weights", "adapters start as PEFT's default does; remove the key"},
    {"pissa_init", "adapters start as PEFT's default does; remove the key"},
    {"use_loftq", "adapters start as PEFT's default does; remove the key"},
    {"lora_modules_to_save", "only LoRA factors are trained; remove the key"},
    {"modules_to_save", "only LoRA factors are trained; remove the key"},
    {"additional_target", "only LoRA factors are trained; remove the key"},
    {"neftune_noise_alpha", "embedding noise is not available; remove the key"},
    {"load_in_8bit", "the base is 4-bit (load_in_4bit: true) or not quantized (load_in_4bit: false)"},
    {"bnb_config_kwargs", "write bnb_4bit_quant_type, bnb_4bit_use_double_quant and bnb_4bit_blocksize as keys of their own"},
    {"roles_to_train", "answers are trained on; assistant_only_loss: false trains on all roles, and a message's own field train leaves an answer out"},
    {"loss_scale", "answers are trained on with equal weight: see assistant_only_loss"},
    {"chat_template_jinja", "write the template into a .jinja file and name it in chat_template_path"},
    {"chat_template_kwargs", "enable_thinking is a key of its own; what else a template takes, write into a .jinja file for chat_template_path"},
    {"recipe", "compute is bfloat16 or float32: see bnb_4bit_compute_dtype"},
    {"datasets", "give the files' paths in train_file"},
    {"dataset", "give the files' paths in train_file"},
    {"dataset_name", "give the files' paths in train_file"},
    {"deepspeed", "nibble trains on one device; remove the key"},
    {"fsdp", "nibble trains on one device; remove the key"},
    {"fp16", "compute is bfloat16 or float32: see bnb_4bit_compute_dtype"},
    {"push_to_hub", "nibble never uses the network; upload the exported folder yourself"},
    {"wandb_project", "metrics are in metrics.jsonl in output_dir; remove the key"},
    {"use_tensorboard", "metrics are in metrics.jsonl in output_dir; remove the key"},
    {"evals_per_epoch", "say how many steps are between evaluations: eval_strategy: steps and eval_steps"},
    {"early_stopping_steps", "not available; interrupt the run, which saves a checkpoint"},
    {"early_stop", "not available; interrupt the run, which saves a checkpoint"},
    {"early_stopping_patience", "not available; interrupt the run, which saves a checkpoint"},
    {"load_best_model_at_end", "not available; export the checkpoint whose eval_loss is lowest with `nibble export`"},
    {"padding_free", "batches never hold padding, packed or not: packing: false gives each document a row of its own; remove the key"},
    {"dataset_num_proc", "all cores prepare data; remove the key"},
    {"dataset_processes", "all cores prepare data; remove the key"},
    {"preprocessing_num_workers", "all cores prepare data; remove the key"},
});

}  // namespace

std::span<const Alias> aliases() { return kAliases; }
std::span<const KnownElsewhere> known_elsewhere() { return kElsewhere; }

}  // namespace nibble::schema
