#include "optim/adamw_cpu.h"

#include "core/bf16.h"

#include <cstring>

namespace nibble::optim {
namespace {

// One loop for all instruction sets: the compiler vectorizes it for the set of the function that it is inlined into.
[[gnu::always_inline]] inline void update(const AdamWSpan& span, const AdamWScalars& scalars) {
  float* __restrict master = span.master;
  float* __restrict m = span.m;
  float* __restrict v = span.v;
  const float* __restrict gradient = span.gradient;
  const AdamWScalars s = scalars;
  if (span.parameter_bf16 != nullptr) {
    uint16_t* __restrict parameter = span.parameter_bf16;
    for (int64_t i = 0; i < span.n; ++i) {
      const float updated = adamw_element(s, gradient[i], master[i], m[i], v[i]);
      master[i] = updated;
      parameter[i] = float_to_bf16(updated);
    }
  } else {
    float* __restrict parameter = span.parameter_fp32;
    for (int64_t i = 0; i < span.n; ++i) {
      const float updated = adamw_element(s, gradient[i], master[i], m[i], v[i]);
      master[i] = updated;
      parameter[i] = updated;
    }
  }
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bw,avx512vl,prefer-vector-width=512"))) void update_avx512(const AdamWSpan& span,
                                                                                   const AdamWScalars& scalars) {
  update(span, scalars);
}
__attribute__((target("avx2"))) void update_avx2(const AdamWSpan& span, const AdamWScalars& scalars) {
  update(span, scalars);
}
#endif

}  // namespace

AdamWIsa best_adamw_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return AdamWIsa::kAvx512;
  }
  if (__builtin_cpu_supports("avx2")) return AdamWIsa::kAvx2;
#endif
  return AdamWIsa::kScalar;
}

const char* adamw_isa_name(AdamWIsa isa) {
  switch (isa) {
    case AdamWIsa::kScalar: return "scalar";
    case AdamWIsa::kAvx2: return "avx2";
    case AdamWIsa::kAvx512: return "avx512";
  }
  return "";
}

void adamw_cpu(const AdamWSpan& span, const AdamWScalars& scalars, AdamWIsa isa) {
  switch (isa) {
    case AdamWIsa::kAvx512:
#if defined(__x86_64__)
      return update_avx512(span, scalars);
#endif
    case AdamWIsa::kAvx2:
#if defined(__x86_64__)
      return update_avx2(span, scalars);
#endif
    case AdamWIsa::kScalar:
      return update(span, scalars);
  }
}

void adamw_round_cpu(const AdamWSpan& span) {
  if (span.parameter_bf16 == nullptr) {
    std::memcpy(span.parameter_fp32, span.master, static_cast<size_t>(span.n) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < span.n; ++i) span.parameter_bf16[i] = float_to_bf16(span.master[i]);
}

}  // namespace nibble::optim
