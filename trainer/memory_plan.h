// Bytes of a run by component, known from the configuration and the model's shape before anything is allocated.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/model_config.h"
#include "nn/recompute.h"
#include "optim/optimizer_config.h"
#include "quant/layout.h"

namespace nibble::trainer {

struct PlanInput {
  nn::ModelConfig model;
  bool load_in_4bit = true;
  quant::QuantConfig quant;
  int64_t element_bytes = 2;         // of the compute dtype
  int64_t lora_r = 16;
  std::vector<nn::Projection> lora_targets;
  optim::OptimizerConfig optimizer;
  int64_t paged_budget_bytes = 0;    // of a paged optimizer's state; 0: all of it
  int64_t pass_tokens = 0;           // of the largest pass through the model
  int64_t loss_chunk_tokens = 256;
  nn::RecomputePolicy recompute;
};

struct PlanComponent {
  std::string name;
  std::string device;  // "cpu"
  int64_t bytes = 0;
};

struct MemoryPlan {
  std::vector<PlanComponent> components;
  int64_t total_bytes() const;
};

MemoryPlan plan_memory(const PlanInput& input);

// The level that keeps the step fastest within `budget_bytes`: none if it fits, else the next dearer one that does,
// else layer.
nn::RecomputePolicy choose_recompute(PlanInput input, int64_t budget_bytes);

// What this process may use: physical memory, or its control group's limit where that is lower.
int64_t memory_limit_bytes();

}  // namespace nibble::trainer
