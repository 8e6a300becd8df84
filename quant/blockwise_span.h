// One weight's blockwise quantization as plain pointers: what the CPU loops (quant/blockwise_cpu.h) and the CUDA launch line
// (quant/blockwise_launch.h) both work on. C++17, for the CUDA compiler. Layout: quant/layout.h.
#pragma once

#include <cstdint>

#include "schema/enums.h"

namespace nibble::quant {

enum class Element : uint8_t { kF32, kBf16, kF16 };

// REQUIRES blocksize a power of two, 32..4096.
struct QuantizeSpan {
  QuantType type = QuantType::kNf4;
  Element element = Element::kF32;
  int64_t blocksize = 64;
  int64_t numel = 0;
  const void* weight = nullptr;  // [numel]
  uint8_t* codes = nullptr;      // [ceil(numel/2)]
  float* absmax = nullptr;       // [ceil(numel/blocksize)]
};

struct DequantizeSpan {
  QuantType type = QuantType::kNf4;
  int64_t blocksize = 64;
  int64_t numel = 0;
  const uint8_t* codes = nullptr;         // [ceil(numel/2)]
  const float* absmax = nullptr;          // [blocks], or null with double quantization:
  const uint8_t* absmax_codes = nullptr;  // [blocks]
  const float* nested_absmax = nullptr;   // [ceil(blocks/256)]
  float nested_offset = 0.0f;
};

}  // namespace nibble::quant
