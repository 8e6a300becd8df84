// AdamW over plain pointers, on the CPU.
#pragma once

#include <cstdint>

#include "optim/adamw_math.h"

namespace nibble::optim {

// A run of n elements that belong to one parameter. Exactly one of the two parameter pointers is set.
struct AdamWSpan {
  float* master;              // [n]
  float* m;                   // [n]
  float* v;                   // [n]
  const float* gradient;      // [n]
  uint16_t* parameter_bf16;   // [n], written: the master rounded
  float* parameter_fp32;      // [n], written: the master
  int64_t n;
};

enum class AdamWIsa : uint8_t { kScalar, kAvx2, kAvx512 };
AdamWIsa best_adamw_isa();                  // what this CPU can run
const char* adamw_isa_name(AdamWIsa isa);

// Every choice of instructions gives the same bits: all operations are element by element and correctly rounded.
void adamw_cpu(const AdamWSpan& span, const AdamWScalars& scalars, AdamWIsa isa);
// The parameter alone, from the master.
void adamw_round_cpu(const AdamWSpan& span);

}  // namespace nibble::optim
