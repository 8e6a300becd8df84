// The arenas of a training step (nn/arena.h) followed in numbers: the same takes and releases as nn/layer.cpp and
// nn/model.cpp make, without memory. Blocks, rounding and what a level of recompute keeps are thus exact.
//
// tests/trainer/step_memory_test.cpp compares with the arenas of a real pass, for every level.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "nn/model_config.h"
#include "nn/recompute.h"

namespace nibble::trainer {

enum class PlanDevice : uint8_t { kCpu, kCuda };

struct StepShape {
  const nn::ModelConfig* model = nullptr;
  PlanDevice device = PlanDevice::kCpu;
  int64_t tokens = 0;                                  // of the pass
  int64_t labelled_rows = 0;                           // of them, rows with a loss
  int64_t loss_chunk_tokens = 256;
  int64_t element_bytes = 2;
  int64_t lora_r = 16;
  std::array<bool, nn::kProjections> targets{};
  bool dropout = false;
  int64_t mlp_chunk_tokens = 0;                        // that go through the MLP at a time; 0: all
  bool attention_on_host = false;                      // of a device whose tensors LibTorch has on the CPU (tests/emulator): as on a CPU
  bool graphs = false;                                 // on a device: attention's output lies in the arena
  int64_t head_panel_rows = 0;                         // of a 4-bit head: rows decoded at a time; 0: the head is dense
};

struct StepMemory {
  int64_t saved_bytes = 0;         // used at the peak: what forward keeps for backward
  int64_t workspace_bytes = 0;     // used at the peak: temporaries of a layer and what it rebuilds
  int64_t loss_bytes = 0;          // what a chunk of logits needs beyond that: they use the same memory in turn
  int64_t slack_bytes = 0;         // held beyond what is used: rounding to pages, ends of blocks
  int64_t kept_outside_bytes = 0;  // kept for backward in LibTorch's memory: attention's outputs on a device
  int64_t offloaded_bytes = 0;     // kept for backward in pinned host memory (nn/activation_offload.h)

  StepMemory& operator+=(const StepMemory& other);

  int64_t scratch_bytes() const { return workspace_bytes + loss_bytes; }
  int64_t held_bytes() const { return saved_bytes + workspace_bytes + loss_bytes + slack_bytes; }
};

// Evaluation of a pass of that shape: forward and the loss alone. The recompute level does not matter.
StepMemory scoring_memory(const StepShape& shape);

// Arenas that serve both.
StepMemory both(const StepMemory& a, const StepMemory& b);

// A step whose layers have these levels, in order, in arenas that were reserved for it (nn::Pass::reserve).
StepMemory step_memory(const StepShape& shape, const std::vector<nn::RecomputePolicy>& recompute);

}  // namespace nibble::trainer
