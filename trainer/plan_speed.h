// How long a step takes with given choices: floating-point operations at a rate, bytes at a rate, copies that overlap. For
// comparing choices and for an estimate of tokens/s, not for a promise: docs/memory.md has the formula.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/memory_plan.h"

namespace nibble::trainer {

struct HardwareSpeed {
  std::string name;
  double flops_per_s = 0;         // of matrix products in bf16 with fp32 sums, as a whole step reaches them
  double memory_bytes_per_s = 0;  // of the computing device's memory
  double host_bytes_per_s = 0;    // from where streamed weights and paged state come: host memory, on a CPU a file
};

// Cards whose rates are tabled, slowest first: the vendors' dense rates times the share that whole training steps reach on
// them. None of them was measured with nibble.
const std::vector<HardwareSpeed>& known_gpus();

// The one of them that stands for cards of this size.
const HardwareSpeed& typical_gpu(int64_t memory_bytes);

// This machine's CPU, from a product that takes some milliseconds.
HardwareSpeed measured_cpu(int64_t element_bytes);

// A CPU of two cores with AVX512_BF16: for choosing, where only proportions matter.
const HardwareSpeed& tabled_cpu();

// Of one micro-batch, with its share of the optimizer's update.
double micro_batch_seconds(const PlanInput& input, const HardwareSpeed& speed);
double tokens_per_s(const PlanInput& input, const HardwareSpeed& speed);

}  // namespace nibble::trainer
