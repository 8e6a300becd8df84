// Every configuration key, described once: name, default, range, one sentence, group. Reading, checking, printing, the
// documentation, the JSON schema and the fingerprint for resume are visitors over describe().
//
// Names are those of Hugging Face TrainingArguments, TRL's SFTConfig, PEFT and bitsandbytes; other trainers' names are
// aliases (schema/aliases.cpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "schema/byte_size.h"
#include "schema/duration.h"
#include "schema/enums.h"
#include "schema/field.h"
#include "schema/field_names.h"
#include "schema/template_choice.h"

namespace nibble::schema {

struct RunConfig {
  std::string model_name_or_path;
  std::string adapter_name_or_path;
  std::string output_dir;

  bool load_in_4bit = true;
  QuantType bnb_4bit_quant_type = QuantType::kNf4;
  bool bnb_4bit_use_double_quant = true;
  int64_t bnb_4bit_blocksize = 64;
  ComputeDtype bnb_4bit_compute_dtype = ComputeDtype::kBfloat16;
  bool lm_head_load_in_4bit = false;

  int64_t lora_r = 16;
  double lora_alpha = 32;
  double lora_dropout = 0;
  std::vector<std::string> lora_target_modules{"all-linear"};
  bool use_rslora = false;

  std::vector<std::string> train_file;
  std::vector<double> train_file_weights;
  std::vector<std::string> validation_file;
  double validation_split_ratio = 0;
  DatasetFormat dataset_format = DatasetFormat::kAuto;
  FieldNames field_names;
  TemplateChoice chat_template_path;
  std::string chat_template_system_prefix;
  std::string chat_template_system_suffix;
  std::string chat_template_user_prefix;
  std::string chat_template_user_suffix;
  std::string chat_template_assistant_prefix;
  std::string chat_template_assistant_suffix;
  AutoSwitch enable_thinking = AutoSwitch::kAuto;
  bool assistant_only_loss = true;
  AutoSwitch completion_only_loss = AutoSwitch::kAuto;
  bool train_on_last_turn_only = false;
  bool split_special_tokens = true;
  int64_t max_length = 1024;
  Truncation truncation = Truncation::kRaise;
  bool packing = true;
  PackingStrategy packing_strategy = PackingStrategy::kFfd;
  bool group_by_length = false;
  bool shuffle = true;
  int64_t max_bad_rows = 0;
  bool dataset_cache = true;
  std::string dataset_prepared_path;

  int64_t per_device_train_batch_size = 1;
  int64_t per_device_eval_batch_size = 1;
  int64_t gradient_accumulation_steps = 16;
  double num_train_epochs = 1;
  int64_t max_steps = -1;
  double learning_rate = 2e-4;
  Schedule lr_scheduler_type = Schedule::kCosine;
  double warmup_ratio = 0.03;
  int64_t warmup_steps = 0;
  Optim optim = Optim::kAdamwTorch;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double weight_decay = 0;
  double max_grad_norm = 0.3;

  ByteSize max_memory;
  Recompute recompute = Recompute::kAuto;
  int64_t loss_chunk_tokens = 0;
  BaseResidency base_residency = BaseResidency::kAuto;
  AutoSwitch packed_cache = AutoSwitch::kAuto;
  std::string packed_cache_dir;
  AutoSwitch offload_embedding = AutoSwitch::kAuto;
  int64_t mlp_chunk_tokens = 0;
  int64_t parallel_passes = 0;
  AutoSwitch worst_step_first = AutoSwitch::kAuto;
  DeviceChoice device = DeviceChoice::kAuto;
  AutoSwitch cuda_graphs = AutoSwitch::kAuto;
  int64_t paged_budget_mib = 0;
  bool paged_oversubscribe = false;

  EvalStrategy eval_strategy = EvalStrategy::kNo;
  int64_t eval_steps = 100;
  int64_t logging_steps = 1;
  int64_t save_steps = 100;
  int64_t save_total_limit = 3;
  AutoSwitch save_in_background = AutoSwitch::kAuto;
  bool resume_from_checkpoint = false;
  Duration max_time;
  NanPolicy nan_policy = NanPolicy::kSkip;
  int64_t max_skipped_steps = 5;
  LossSpikePolicy loss_spike_policy = LossSpikePolicy::kWarn;
  double loss_spike_threshold = 8;
  ReportTo report_to = ReportTo::kNone;
  int64_t seed = 42;

  // Calls visit(name, value, Field) for every key, in the order in which documents list them.
  template <class Config, class Visitor>
  static void describe(Config& c, Visitor& visit) {
    constexpr auto must = OnResume::kMustMatch;
    constexpr auto may = OnResume::kMayDiffer;
    visit("model_name_or_path", c.model_name_or_path,
          Field{.group = "Model", .doc = "the base model: a Hugging Face folder, a GGUF file, or a Hub id that is in the local cache",
                .on_resume = must, .kind = Kind::kPathOrHubId});
    visit("adapter_name_or_path", c.adapter_name_or_path,
          Field{.group = "Model", .doc = "a PEFT adapter folder to start from, with a fresh optimizer and schedule; empty: a new adapter",
                .on_resume = may, .kind = Kind::kPath});
    visit("output_dir", c.output_dir,
          Field{.group = "Model", .doc = "the run folder: checkpoints, metrics, log and the effective configuration", .kind = Kind::kPath});

    visit("load_in_4bit", c.load_in_4bit,
          Field{.group = "Quantization", .doc = "freezes the base in 4 bits: a quarter of the memory for a small loss of precision", .on_resume = must});
    visit("bnb_4bit_quant_type", c.bnb_4bit_quant_type,
          Field{.group = "Quantization", .doc = "the 4-bit codebook; nf4 is the better one for normally distributed weights", .on_resume = must});
    visit("bnb_4bit_use_double_quant", c.bnb_4bit_use_double_quant,
          Field{.group = "Quantization", .doc = "stores the block scales in 8 bits: 0.37 bits a weight less, at almost no loss", .on_resume = must});
    visit("bnb_4bit_blocksize", c.bnb_4bit_blocksize,
          Field{.group = "Quantization", .doc = "weights that share a scale, a power of two: smaller is more exact and larger in memory",
                .min = 32, .max = 4096, .unit = "weights", .on_resume = must});
    visit("bnb_4bit_compute_dtype", c.bnb_4bit_compute_dtype,
          Field{.group = "Quantization", .doc = "the precision of the arithmetic and the adapter; float32 is for comparisons, at half the speed", .on_resume = must});

    visit("lm_head_load_in_4bit", c.lm_head_load_in_4bit,
          Field{.group = "Quantization",
                .doc = "freezes the output head in 4 bits too: saves most of its memory (0.7 GiB at a vocabulary of 128k) and, unlike all other savings, "
                       "changes the numbers; a head that is the embedding stays in 16 bits for look-ups beside it",
                .on_resume = must});

    visit("lora_r", c.lora_r,
          Field{.group = "LoRA", .doc = "rank of the update; adapter size grows linearly", .min = 1, .max = 1024, .on_resume = must});
    visit("lora_alpha", c.lora_alpha,
          Field{.group = "LoRA", .doc = "the update's factor is lora_alpha / lora_r: larger learns faster and less stably", .min = 0, .max = 1e6, .on_resume = must});
    visit("lora_dropout", c.lora_dropout,
          Field{.group = "LoRA", .doc = "share of the adapter's inputs dropped in training: against overfitting on small data, at some speed",
                .min = 0, .max = 0.99, .on_resume = must});
    visit("lora_target_modules", c.lora_target_modules,
          Field{.group = "LoRA", .doc = "all-linear, or a list of q_proj k_proj v_proj o_proj gate_proj up_proj down_proj: fewer are faster and learn less", .on_resume = must});
    visit("use_rslora", c.use_rslora,
          Field{.group = "LoRA", .doc = "divides lora_alpha by the root of lora_r instead: keeps high ranks effective", .on_resume = must});

    visit("train_file", c.train_file,
          Field{.group = "Data", .doc = "JSONL or JSON files to train on, a path or a list", .on_resume = may, .kind = Kind::kPath});
    visit("train_file_weights", c.train_file_weights,
          Field{.group = "Data", .doc = "how often each file's documents come in an epoch, one number a file: 2 is twice, 0.5 half of them, chosen by the seed; empty: once",
                .min = 0, .max = 1000, .on_resume = must});
    visit("validation_file", c.validation_file,
          Field{.group = "Data", .doc = "files to evaluate on, a path or a list", .kind = Kind::kPath});
    visit("validation_split_ratio", c.validation_split_ratio,
          Field{.group = "Data", .doc = "share of the training documents kept back for evaluation, chosen by the seed", .min = 0, .max = 0.9, .on_resume = must});
    visit("dataset_format", c.dataset_format,
          Field{.group = "Data", .doc = "the schema of the rows; auto tells it from the fields of the first row", .on_resume = must});
    FieldNames::describe(c.field_names, [&](const char* key, auto& name, const char* doc) {
      visit(key, name, Field{.group = "Data", .doc = doc, .on_resume = must});
    });
    visit("chat_template_path", c.chat_template_path,
          Field{.group = "Data", .doc = "how conversations become text: auto is the model's own template; else a built-in format, a .jinja file, or a folder "
                                        "whose tokenizer has the template", .on_resume = must});
    visit("chat_template_system_prefix", c.chat_template_system_prefix,
          Field{.group = "Data", .doc = "a format of your own, in place of chat_template_path: what stands in front of a system message; without prefix and suffix "
                                        "there is no place for one", .on_resume = must});
    visit("chat_template_system_suffix", c.chat_template_system_suffix,
          Field{.group = "Data", .doc = "a format of your own: what stands behind a system message", .on_resume = must});
    visit("chat_template_user_prefix", c.chat_template_user_prefix,
          Field{.group = "Data", .doc = "a format of your own: what stands in front of a message of the user", .on_resume = must});
    visit("chat_template_user_suffix", c.chat_template_user_suffix,
          Field{.group = "Data", .doc = "a format of your own: what stands behind a message of the user", .on_resume = must});
    visit("chat_template_assistant_prefix", c.chat_template_assistant_prefix,
          Field{.group = "Data", .doc = "a format of your own: what stands in front of an answer and is not learned, since generation starts behind it", .on_resume = must});
    visit("chat_template_assistant_suffix", c.chat_template_assistant_suffix,
          Field{.group = "Data", .doc = "a format of your own: what stands behind an answer, beginning with the token that ends a turn, which is learned; empty: the "
                                        "tokenizer's EOS", .on_resume = must});
    visit("enable_thinking", c.enable_thinking,
          Field{.group = "Data", .doc = "the variable of that name in templates that can think (Qwen3, SmolLM3); auto leaves it to the template", .on_resume = must});
    visit("assistant_only_loss", c.assistant_only_loss,
          Field{.group = "Data", .doc = "trains on answers only; false trains on the prompts too", .on_resume = must});
    visit("completion_only_loss", c.completion_only_loss,
          Field{.group = "Data", .doc = "of prompt-completion rows, trains on the completion only; auto: as assistant_only_loss says", .on_resume = must});
    visit("train_on_last_turn_only", c.train_on_last_turn_only,
          Field{.group = "Data", .doc = "of the answers of a conversation, trains on the last one only: for rows whose earlier answers are not worth learning", .on_resume = must});
    visit("split_special_tokens", c.split_special_tokens,
          Field{.group = "Data", .doc = "reads names of special tokens in the text of messages as characters, with a warning, so that nobody ends a turn by writing its token; "
                                        "false reads them as the tokens, for rows that hold such tokens on purpose", .on_resume = must});
    visit("max_length", c.max_length,
          Field{.group = "Data", .doc = "the longest row; memory for activations grows linearly", .min = 2, .max = 1 << 20, .unit = "tokens", .on_resume = must});
    visit("truncation", c.truncation,
          Field{.group = "Data", .doc = "what happens to longer documents: an error, cutting, or leaving them out, with counts", .on_resume = must});
    visit("packing", c.packing,
          Field{.group = "Data", .doc = "fills rows with several documents, isolated from each other: faster, with other batch contents", .on_resume = must});
    visit("packing_strategy", c.packing_strategy,
          Field{.group = "Data", .doc = "which row a document goes to, longest first: ffd the first with room, bfd (TRL's best-fit decreasing) the one that it fills most", .on_resume = must});
    visit("group_by_length", c.group_by_length,
          Field{.group = "Data", .doc = "without packing, brings rows of similar length together: steps of even cost, in an order that is less random", .on_resume = must});
    visit("shuffle", c.shuffle,
          Field{.group = "Data", .doc = "draws a new order of the rows every epoch; false keeps the files' order", .on_resume = must});
    visit("max_bad_rows", c.max_bad_rows,
          Field{.group = "Data", .doc = "rows with something wrong that are left out, with their places; one more ends the run", .min = 0, .max = 1e9, .unit = "rows"});
    visit("dataset_cache", c.dataset_cache,
          Field{.group = "Data", .doc = "keeps tokenized and packed data for later runs, which then start at once; false prepares them anew each time; changes no number"});
    visit("dataset_prepared_path", c.dataset_prepared_path,
          Field{.group = "Data", .doc = "the folder of prepared data, about 5 bytes a token; empty: nibble/data in $XDG_CACHE_HOME, else in ~/.cache", .kind = Kind::kPath});

    visit("per_device_train_batch_size", c.per_device_train_batch_size,
          Field{.group = "Training", .doc = "rows of a micro-batch: more is faster and takes more memory", .min = 1, .max = 65536, .unit = "rows", .on_resume = must});
    visit("per_device_eval_batch_size", c.per_device_eval_batch_size,
          Field{.group = "Training", .doc = "rows of an evaluation batch", .min = 1, .max = 65536, .unit = "rows"});
    visit("gradient_accumulation_steps", c.gradient_accumulation_steps,
          Field{.group = "Training", .doc = "micro-batches of an optimizer step: a larger batch without its memory", .min = 1, .max = 65536, .on_resume = must});
    visit("num_train_epochs", c.num_train_epochs,
          Field{.group = "Training", .doc = "passes over the data, where max_steps does not say", .min = 0, .max = 1e6, .on_resume = must});
    visit("max_steps", c.max_steps,
          Field{.group = "Training", .doc = "optimizer steps of the run; -1: by num_train_epochs", .min = -1, .max = 1e9, .unit = "steps", .on_resume = must});
    visit("learning_rate", c.learning_rate,
          Field{.group = "Training", .doc = "the peak rate: 2e-4 is usual for LoRA, 1e-4 above 13B", .min = 0, .max = 100, .on_resume = must});
    visit("lr_scheduler_type", c.lr_scheduler_type,
          Field{.group = "Training", .doc = "the curve of the rate after warm-up; constant ignores warm-up", .on_resume = must});
    visit("warmup_ratio", c.warmup_ratio,
          Field{.group = "Training", .doc = "share of the steps over which the rate rises from 0, where warmup_steps is 0", .min = 0, .max = 1, .on_resume = must});
    visit("warmup_steps", c.warmup_steps,
          Field{.group = "Training", .doc = "steps over which the rate rises from 0; wins over warmup_ratio", .min = 0, .max = 1e9, .unit = "steps", .on_resume = must});
    visit("optim", c.optim,
          Field{.group = "Training",
                .doc = "the optimizer, by its Hugging Face name: 8bit holds its moments in a quarter of the memory, lion has one moment and wants a "
                       "learning_rate 3 to 10 times smaller, paged moves state that does not fit; adamw_bnb_8bit is adamw_8bit, adamw_torch_fused is adamw_torch",
                .on_resume = must});
    visit("adam_beta1", c.adam_beta1, Field{.group = "Training", .doc = "decay of the first moment; of Lion's update direction", .min = 0, .max = 0.999999, .on_resume = must});
    visit("adam_beta2", c.adam_beta2, Field{.group = "Training", .doc = "decay of the second moment; of Lion's one moment, for which its paper has 0.99", .min = 0, .max = 0.999999, .on_resume = must});
    visit("adam_epsilon", c.adam_epsilon, Field{.group = "Training", .doc = "added to the root of the second moment; not used by Lion", .min = 1e-30, .max = 1, .on_resume = must});
    visit("weight_decay", c.weight_decay, Field{.group = "Training", .doc = "decoupled decay of the adapter's weights", .min = 0, .max = 10, .on_resume = must});
    visit("max_grad_norm", c.max_grad_norm,
          Field{.group = "Training", .doc = "clips the gradient's global norm; 0: no clipping", .min = 0, .max = 1e9, .on_resume = must});

    visit("max_memory", c.max_memory,
          Field{.group = "Memory", .doc = "what the run may use, of the GPU's memory or, on a CPU, of the machine's: the planner makes it fit by the choices that cost least "
                                          "time, and refuses what cannot fit; auto: what there is, less a reserve"});
    visit("recompute", c.recompute,
          Field{.group = "Memory", .doc = "activations rebuilt in backward instead of kept: none keeps the most, layer the least; offload is layer with the layers' inputs in pinned "
                                          "host memory, on a GPU; auto takes the fastest that fits, on a CPU elementwise at once; no choice changes a number"});
    visit("loss_chunk_tokens", c.loss_chunk_tokens,
          Field{.group = "Memory", .doc = "rows of logits held at a time: more costs memory, fewer speed; 0: 256, or fewer where memory is short", .min = 0, .max = 1 << 20, .unit = "tokens", .on_resume = must});
    visit("base_residency", c.base_residency,
          Field{.group = "Memory", .doc = "where the frozen base is: resident in the memory of the device, or streamed layer by layer from host memory (on a CPU, from a "
                                          "file), so that a model larger than the memory trains, slower with few tokens a step; auto streams only what does not fit; no "
                                          "choice changes a number"});
    visit("packed_cache", c.packed_cache,
          Field{.group = "Memory", .doc = "the quantized base in a file that later runs map instead of reading and quantizing the base again: auto takes one that is there, and makes "
                                          "one where the base is streamed from it; true makes it in any case; false leaves it alone; no choice changes a number"});
    visit("packed_cache_dir", c.packed_cache_dir,
          Field{.group = "Memory", .doc = "the folder of the packed cache, about half a byte a weight and two a weight of embedding and head; empty: nibble in $XDG_CACHE_HOME, "
                                          "else in ~/.cache", .kind = Kind::kPath});
    visit("offload_embedding", c.offload_embedding,
          Field{.group = "Memory", .doc = "keeps the embedding table in host memory, on a CPU in the model's file: saves its bytes at almost no time; auto does it where "
                                          "memory is short; no choice changes a number"});
    visit("mlp_chunk_tokens", c.mlp_chunk_tokens,
          Field{.group = "Memory", .doc = "tokens of a pass that go through a layer's MLP at a time, for very long rows: its temporaries, the widest there are, then stop growing "
                                          "with max_length, and each weight is decoded once a chunk; sums in another order, so the last bits change; 0: all at once",
                .min = 0, .max = 1 << 20, .unit = "tokens", .on_resume = must});
    visit("parallel_passes", c.parallel_passes,
          Field{.group = "Memory", .doc = "on a CPU, parts of a step that are computed at a time, each on one core, instead of all cores on one: faster, and a workspace and "
                                          "gradients for each; 0: one a core where a step has documents enough, memory allows and weights are at most 8 MiB; no choice changes a number",
                .min = 0, .max = 1024});
    visit("worst_step_first", c.worst_step_first,
          Field{.group = "Memory", .doc = "rehearses a step at the largest shapes of the data before the first one and prints planned and measured memory: what does not fit "
                                          "fails at once and not hours later; auto: on a GPU, and on a CPU where more than half of the memory is planned; changes no number"});
    visit("device", c.device,
          Field{.group = "Memory", .doc = "where to compute: cuda asks for a GPU; auto is the CPU for now, since training on a GPU has run on an emulated device only",
                .on_resume = must});
    visit("cuda_graphs", c.cuda_graphs,
          Field{.group = "Memory", .doc = "on a GPU, repeats what layers launch as recorded graphs where a pass has as many tokens as an earlier one, so that the host keeps up "
                                          "with a small model's kernels; passes are then filled up to a multiple of 256 tokens, and kept attention outputs are copied; auto is off "
                                          "until it has been measured on a GPU; no effect on a CPU or while the base is streamed"});
    visit("paged_budget_mib", c.paged_budget_mib,
          Field{.group = "Memory", .doc = "what of a paged optimizer's state is resident at most, on the GPU or, on a CPU, in memory (the rest is then in a file in output_dir): "
                                          "less saves memory and costs copies; 0: all of it, or what the GPU has free",
                .min = 0, .max = 1 << 24, .unit = "MiB"});
    visit("paged_oversubscribe", c.paged_oversubscribe,
          Field{.group = "Memory", .doc = "lets a paged optimizer's managed memory be larger than what the GPU has free: it fits more, and can stall the card for everybody on it"});

    visit("eval_strategy", c.eval_strategy, Field{.group = "Run", .doc = "when to evaluate while training"});
    visit("eval_steps", c.eval_steps, Field{.group = "Run", .doc = "steps between evaluations with eval_strategy steps", .min = 1, .max = 1e9, .unit = "steps"});
    visit("logging_steps", c.logging_steps, Field{.group = "Run", .doc = "steps that a row of metrics.jsonl covers", .min = 1, .max = 1e9, .unit = "steps"});
    visit("save_steps", c.save_steps, Field{.group = "Run", .doc = "steps between checkpoints; 0: only at the end", .min = 0, .max = 1e9, .unit = "steps"});
    visit("save_total_limit", c.save_total_limit, Field{.group = "Run", .doc = "checkpoints kept, the newest ones; 0 keeps all", .min = 0, .max = 1e9});
    visit("save_in_background", c.save_in_background,
          Field{.group = "Run", .doc = "copies what a checkpoint holds and writes it while training goes on, for the memory of that copy; false: training waits; auto: in the "
                                       "background where memory allows; changes no number"});
    visit("resume_from_checkpoint", c.resume_from_checkpoint,
          Field{.group = "Run", .doc = "continues the newest good checkpoint of output_dir where there is one, as train --resume"});
    visit("max_time", c.max_time,
          Field{.group = "Run", .doc = "how long the process may run, from its start: it stops in time to have saved, with exit code 75, for jobs that a scheduler ends; none: "
                                       "until it is done"});
    visit("nan_policy", c.nan_policy,
          Field{.group = "Run", .doc = "what a loss or gradient that is not finite leads to, besides the record of it in output_dir: skip leaves the step's update out, stop ends the "
                                       "run, rewind goes back to the newest checkpoint and leaves the step out on the way"});
    visit("max_skipped_steps", c.max_skipped_steps,
          Field{.group = "Run", .doc = "steps that a whole run may leave out by nan_policy and loss_spike_policy; one more ends it", .min = 0, .max = 1e9, .unit = "steps"});
    visit("loss_spike_policy", c.loss_spike_policy,
          Field{.group = "Run", .doc = "what a step's loss far above those before it leads to: none, warn (a line and a record in output_dir), or as nan_policy says of skip, stop "
                                       "and rewind"});
    visit("loss_spike_threshold", c.loss_spike_threshold,
          Field{.group = "Run", .doc = "how far above the running mean of the steps' losses is far: lower notices more and errs more", .min = 2, .max = 1000,
                .unit = "standard deviations"});
    visit("report_to", c.report_to, Field{.group = "Run", .doc = "other places for the metrics"});
    visit("seed", c.seed, Field{.group = "Run", .doc = "of the adapter's start, the data's order and dropout", .min = 0, .max = 9007199254740991.0, .on_resume = must});
  }
};

// Whether conversations are written by the role prefixes and suffixes of the configuration.
inline bool has_template_affixes(const RunConfig& c) {
  return !(c.chat_template_system_prefix + c.chat_template_system_suffix + c.chat_template_user_prefix + c.chat_template_user_suffix +
           c.chat_template_assistant_prefix + c.chat_template_assistant_suffix)
              .empty();
}

}  // namespace nibble::schema
