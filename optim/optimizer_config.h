// Which optimizer, in its own terms: what a Hugging Face name stands for.
#pragma once

#include <cstdint>

#include "optim/update_math.h"
#include "schema/enums.h"

namespace nibble::optim {

// The arithmetic: one quadruple of files each.
enum class UpdateRule : uint8_t { kAdamWTorch, kAdamWBnb, kLion };

struct OptimizerKind {
  UpdateRule rule;
  int moments;     // 1 or 2
  bool eight_bit;  // moments of parameters of at least min_8bit_elements are 8-bit codes
  bool paged;      // its state belongs in paged memory; changes no number
};

// Names keep the numbers that they have elsewhere: adamw_torch is torch's, all others are bitsandbytes'.
constexpr OptimizerKind optimizer_kind(Optim optim) {
  switch (optim) {
    case Optim::kAdamwTorch: return {UpdateRule::kAdamWTorch, 2, false, false};
    case Optim::kAdamw8bit: return {UpdateRule::kAdamWBnb, 2, true, false};
    case Optim::kPagedAdamw32bit: return {UpdateRule::kAdamWBnb, 2, false, true};
    case Optim::kPagedAdamw8bit: return {UpdateRule::kAdamWBnb, 2, true, true};
    case Optim::kLion32bit: return {UpdateRule::kLion, 1, false, false};
    case Optim::kLion8bit: return {UpdateRule::kLion, 1, true, false};
    case Optim::kPagedLion32bit: return {UpdateRule::kLion, 1, false, true};
    case Optim::kPagedLion8bit: return {UpdateRule::kLion, 1, true, true};
  }
  return {UpdateRule::kAdamWTorch, 2, false, false};
}

struct OptimizerConfig : UpdateConfig {
  Optim optim = Optim::kAdamwTorch;
  int64_t min_8bit_elements = 4096;  // smaller parameters keep fp32 moments, as in bitsandbytes
};

}  // namespace nibble::optim
