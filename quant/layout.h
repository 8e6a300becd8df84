// A frozen weight in 4-bit blockwise storage, byte for byte as bitsandbytes keeps it.
//
// The weight [Out, In] is flattened row-major and cut into blocks of `blocksize`. Each block has one fp32 scale
// (absmax); each value is the index of a 16-entry codebook. Two codes share a byte: element 2j in the high nibble,
// element 2j+1 in the low one. With double quantization the scales are stored as 8-bit codes of the signed dynamic map:
//   absmax[b] = map[absmax_codes[b]] * nested_absmax[b / 256] + nested_offset   (two fp32 roundings, no fma)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/layout_constants.h"
#include "schema/enums.h"
#include "tensor/torch.h"

namespace nibble::quant {

struct QuantConfig {
  QuantType type = QuantType::kNf4;
  int64_t blocksize = 64;      // 32..4096, a power of two
  bool double_quant = true;
};

struct QuantizedWeight {
  QuantConfig config;
  int64_t out = 0;
  int64_t in = 0;
  Tensor codes;         // [ceil(Out*In/2)], uint8
  Tensor absmax;        // [blocks], fp32; undefined with double quantization
  Tensor absmax_codes;  // [blocks], uint8; double quantization only
  Tensor nested_absmax; // [ceil(blocks/256)], fp32; double quantization only
  float nested_offset = 0.0f;

  bool defined() const { return codes.defined(); }
  int64_t numel() const { return out * in; }
  int64_t blocks() const { return (numel() + config.blocksize - 1) / config.blocksize; }
  int64_t bytes() const;  // of all tensors above
};

}  // namespace nibble::quant
