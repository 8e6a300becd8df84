// The CPU loops that all optimizers share, as templates over a rule (optim/update_math.h): a rule's x_cpu.cpp instantiates
// them. Not for other units.
//
// One loop is written for all instruction sets: the compiler vectorizes it for the set of the function that it is inlined
// into. Every operation is element by element and correctly rounded, or a maximum, so that all give the same bits.
#pragma once

#include <cstring>

#include "core/bf16.h"
#include "optim/moment8_math.h"
#include "optim/update_table.h"
#include "quant/blockwise_cpu.h"

namespace nibble::optim {

inline void store_parameter(uint16_t* parameter, int64_t i, float master) { parameter[i] = float_to_bf16(master); }
inline void store_parameter(float* parameter, int64_t i, float master) { parameter[i] = master; }

// fp32 moments.
template <class Rule, class Parameter>
[[gnu::always_inline]] inline void update_values(const UpdateSpan& span, const UpdateScalars& scalars) {
  float* __restrict master = span.master;
  float* __restrict m = static_cast<float*>(span.m);
  float* __restrict v = static_cast<float*>(span.v);
  const float* __restrict gradient = span.gradient;
  auto* __restrict parameter = static_cast<Parameter*>(span.parameter);
  const UpdateScalars s = scalars;
  for (int64_t i = 0; i < span.n; ++i) {
    float moment_v = 0.0f;
    if constexpr (Rule::kMoments == 2) moment_v = v[i];
    const float updated = Rule::update(s, gradient[i], master[i], m[i], moment_v);
    if constexpr (Rule::kMoments == 2) v[i] = moment_v;
    master[i] = updated;
    store_parameter(parameter, i, updated);
  }
}

// 8-bit moments, one block of at most kMomentBlock elements: decode, update and find the new scales; then encode.
template <class Rule, class Parameter>
[[gnu::always_inline]] inline void update_block(const UpdateSpan& span, int64_t begin, int64_t count,
                                                const UpdateScalars& s, const MomentTables& tables) {
  alignas(64) float m[kMomentBlock];
  alignas(64) float v[kMomentBlock];
  alignas(64) uint8_t codes[kMomentBlock];  // not stored to memory at once: bytes might alias the tables, and stop gathers
  float* __restrict master = span.master + begin;
  const float* __restrict gradient = span.gradient + begin;
  auto* __restrict parameter = static_cast<Parameter*>(span.parameter) + begin;
  auto* __restrict codes_m = static_cast<uint8_t*>(span.m) + begin;
  auto* __restrict codes_v = Rule::kMoments == 2 ? static_cast<uint8_t*>(span.v) + begin : nullptr;
  const int64_t block = begin / kMomentBlock;

  const float scale_m = span.absmax_m[block];
  for (int64_t i = 0; i < count; ++i) m[i] = tables.m.map[codes_m[i]] * scale_m;
  if constexpr (Rule::kMoments == 2) {
    const float scale_v = span.absmax_v[block];
    for (int64_t i = 0; i < count; ++i) v[i] = tables.v.map[codes_v[i]] * scale_v;
  }

  uint32_t largest_m = 0, largest_v = 0;
  for (int64_t i = 0; i < count; ++i) {
    float moment_v = Rule::kMoments == 2 ? v[i] : 0.0f;
    const float updated = Rule::update(s, gradient[i], master[i], m[i], moment_v);
    master[i] = updated;
    store_parameter(parameter, i, updated);
    const uint32_t magnitude_m = magnitude_bits(m[i]), magnitude_v = magnitude_bits(moment_v);
    largest_m = magnitude_m > largest_m ? magnitude_m : largest_m;
    largest_v = magnitude_v > largest_v ? magnitude_v : largest_v;
    v[i] = moment_v;
  }

  const float absmax_m = float_of_bits(largest_m);
  span.absmax_m[block] = absmax_m;
  for (int64_t i = 0; i < count; ++i) codes[i] = encode_m(tables.m.tree, m[i], absmax_m);
  std::memcpy(codes_m, codes, static_cast<size_t>(count));
  if constexpr (Rule::kMoments == 2) {
    const float absmax_v = float_of_bits(largest_v);
    span.absmax_v[block] = absmax_v;
    for (int64_t i = 0; i < count; ++i) codes[i] = encode_v(tables.v.tree, v[i], absmax_v);
    std::memcpy(codes_v, codes, static_cast<size_t>(count));
  }
}

template <class Rule, class Parameter>
[[gnu::always_inline]] inline void update_as(const UpdateSpan& span, const UpdateScalars& s, const MomentTables& tables) {
  if (span.absmax_m == nullptr) return update_values<Rule, Parameter>(span, s);
  int64_t begin = 0;
  // The full block's count is a constant, so that its loops have no remainders.
  for (; begin + kMomentBlock <= span.n; begin += kMomentBlock) {
    update_block<Rule, Parameter>(span, begin, kMomentBlock, s, tables);
  }
  if (const int64_t rest = span.n - begin; rest > 0) update_block<Rule, Parameter>(span, begin, rest, s, tables);
}

template <class Rule>
[[gnu::always_inline]] inline void update_span(const UpdateSpan& span, const UpdateScalars& s, const MomentTables& tables) {
  span.parameter_is_bf16 ? update_as<Rule, uint16_t>(span, s, tables) : update_as<Rule, float>(span, s, tables);
}

#if defined(__x86_64__)
template <class Rule>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512"))) void update_avx512(
    const UpdateSpan& span, const UpdateScalars& s, const MomentTables& tables) {
  update_span<Rule>(span, s, tables);
}
template <class Rule>
__attribute__((target("avx2"))) void update_avx2(const UpdateSpan& span, const UpdateScalars& s,
                                                 const MomentTables& tables) {
  update_span<Rule>(span, s, tables);
}
#endif

template <class Rule>
void update_cpu(const UpdateSpan& span, const UpdateScalars& s, const MomentTables& tables, quant::Isa isa) {
  switch (isa) {
    case quant::Isa::kAvx512:
#if defined(__x86_64__)
      return update_avx512<Rule>(span, s, tables);
#endif
    case quant::Isa::kAvx2:
#if defined(__x86_64__)
      return update_avx2<Rule>(span, s, tables);
#endif
    case quant::Isa::kScalar:
      return update_span<Rule>(span, s, tables);
  }
}

}  // namespace nibble::optim
