// Bytes of a run by component, known from the configuration and the model's shape before anything is allocated. What each
// component is, and how it was measured: docs/memory.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/memory_account.h"
#include "nn/model_config.h"
#include "optim/optimizer_config.h"
#include "quant/layout.h"
#include "trainer/memory_choices.h"
#include "trainer/step_memory.h"

namespace nibble::trainer {

// What the model is for: training, or forward passes alone (eval, generate), which keep no gradients and no optimizer and whose
// largest pass is eval_tokens.
enum class PlanFor : uint8_t { kTraining, kForward };

struct PlanInput {
  nn::ModelConfig model;
  PlanFor purpose = PlanFor::kTraining;
  PlanDevice device = PlanDevice::kCpu;
  bool load_in_4bit = true;
  quant::QuantConfig quant;
  bool head_in_4bit = false;
  int64_t element_bytes = 2;         // of the compute dtype
  int64_t lora_r = 16;
  std::vector<nn::Projection> lora_targets;
  bool lora_dropout = false;
  optim::OptimizerConfig optimizer;
  int64_t pass_tokens = 0;           // of the largest pass through the model
  int64_t longest_tokens = 0;        // of its longest document; 0: one document
  int64_t labelled_rows = -1;        // of the pass, rows with a loss; -1: all
  int64_t rows = 0, row_tokens = 0;  // of a micro-batch at its largest; 0: one pass
  int64_t eval_tokens = 0;           // of the largest pass of an evaluation while training; 0: there is none
  int64_t eval_longest_tokens = 0;   // of its longest document
  int64_t eval_rows = 0, eval_row_tokens = 0;  // of its batches at their largest
  int64_t cache_tokens = 0;          // whose keys and values are kept, when text is generated
  int64_t accumulation_steps = 1;    // micro-batches of an optimizer step
  int64_t cores = 1;                 // of a CPU, that compute
  int64_t step_passes = 1;           // that a step has at least, so that each core can have its own: cores, or 1 where there are too few
  int64_t process_bytes = 0;         // of the process before the model is loaded: program, libraries, tokenizer, data;
                                     // 0: as usual
  int64_t mlp_chunk_tokens = 0;      // 0: all
  int64_t looked_up_bytes = -1;      // of an embedding that stays in its file, what a run touches; -1: all of it
  bool attention_on_host = false;    // StepShape's
  bool cuda_graphs = false;          // on a device, pieces of layers are recorded (trainer/graph_use.h)
  bool saves_midway = false;         // checkpoints are saved while training goes on, not only at its end
  FixedChoices fixed;
  MemoryChoices choices;
};

// The kernel brings a file's pages in windows of this size (fault-around).
inline constexpr int64_t kFaultAroundBytes = 64 << 10;

// What the driver keeps of a device for a process that uses it (measured by others: 0.3 to 0.5 GiB). No allocation shows it.
inline constexpr int64_t kCudaContextBytes = int64_t{430} << 20;
// What LibTorch keeps there beyond its tensors: cuBLAS's workspace; ends of segments, of 20 MiB for large tensors and 2 MiB for
// small ones.
inline constexpr int64_t kCublasBytes = int64_t{64} << 20;
inline constexpr int64_t kTorchSlackBytes = int64_t{22} << 20;

struct PlanComponent {
  std::string name;
  MemoryPart part = MemoryPart::kLibraries;  // what the account of a run calls it
  std::string device;                        // "cpu" or "cuda"
  int64_t bytes = 0;
};

struct MemoryPlan {
  std::string device = "cpu";                // where the run computes
  std::vector<PlanComponent> components;

  int64_t total_bytes() const { return total_bytes(device); }
  int64_t total_bytes(const std::string& on) const;
  int64_t bytes_of(MemoryPart part) const;   // on the computing device
};

MemoryPlan plan_memory(const PlanInput& input);

// Gives the input the largest pass of micro-batches of so many rows of so many tokens, the longest document `longest`.
void set_batch(PlanInput& input, int64_t rows, int64_t row_tokens, int64_t longest);
// The same for batches that are evaluated while training. No rows: there are none.
void set_eval_batch(PlanInput& input, int64_t rows, int64_t row_tokens, int64_t longest);

// What this process may use: physical memory, or the lowest limit that it is under.
int64_t memory_limit_bytes();

// Of the plan, what depends on the recompute levels: saved activations, workspace, logits, slack.
int64_t step_bytes(const PlanInput& input);
// The arenas that training and evaluation share.
StepMemory planned_step(const PlanInput& input);

// Packed bytes of a weight: codes, and scales with their nested scales.
struct PackedBytes {
  int64_t codes = 0, scales = 0;
  int64_t total() const { return codes + scales; }
};
PackedBytes packed_bytes(int64_t elements, const quant::QuantConfig& config);

// Of one layer's linears as they are frozen, biases included.
int64_t layer_base_bytes(const PlanInput& input);
int64_t adapter_parameters(const PlanInput& input);
int64_t largest_weight_bytes(const PlanInput& input);  // of a linear, in the compute dtype
int64_t optimizer_state_bytes(const PlanInput& input);
int64_t checkpoint_copy_bytes(const PlanInput& input);  // adapter and optimizer state, in host memory

}  // namespace nibble::trainer
