// The tensor types of GGUF files and their decoding. Source: ggml's ggml.h and ggml-quants.c.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <stdexcept>

#include "io/gguf.h"

namespace nibble::io {
namespace {

constexpr int64_t kBlock = 32;  // values in a block of Q4_0, Q4_1 and Q8_0

constexpr std::array<GgmlTraits, 6> kTraits{{{GgmlType::kF32, "F32", 1, 4},
                                             {GgmlType::kF16, "F16", 1, 2},
                                             {GgmlType::kBF16, "BF16", 1, 2},
                                             {GgmlType::kQ4_0, "Q4_0", kBlock, 18},
                                             {GgmlType::kQ4_1, "Q4_1", kBlock, 20},
                                             {GgmlType::kQ8_0, "Q8_0", kBlock, 34}}};

// By number; "": never used, or withdrawn.
constexpr std::array<std::string_view, 40> kNames{
    "F32",     "F16",   "Q4_0",    "Q4_1", "",       "",        "Q5_0",  "Q5_1",  "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
    "Q6_K",    "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64",
    "F64",     "IQ1_M", "BF16",    "",     "",       "",        "TQ1_0", "TQ2_0", "",     "",     "",     "MXFP4"};

template <typename T>
T load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

float bf16_to_float(uint16_t bits) { return from_bits(static_cast<uint32_t>(bits) << 16); }

// IEEE binary16, denormals, infinities and NaN included; exact.
float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = half >> 10 & 0x1Fu;
  const uint32_t fraction = half & 0x3FFu;
  if (exponent == 0x1Fu) return from_bits(sign | 0x7F800000u | fraction << 13);
  if (exponent != 0) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

// One block of 16 bytes: the low nibbles are the first 16 values, the high nibbles the rest.
template <typename Decode>
void decode_nibbles(const std::byte* packed, float* into, Decode decode) {
  for (int64_t j = 0; j < kBlock / 2; ++j) {
    const auto byte = static_cast<uint8_t>(packed[j]);
    into[j] = decode(byte & 0xF);
    into[j + kBlock / 2] = decode(byte >> 4);
  }
}

void decode_block(GgmlType type, const std::byte* block, float* into) {
  switch (type) {
    case GgmlType::kQ4_0: {
      const float scale = half_to_float(load<uint16_t>(block));
      decode_nibbles(block + 2, into, [=](int code) { return static_cast<float>(code - 8) * scale; });
      return;
    }
    case GgmlType::kQ4_1: {
      const float scale = half_to_float(load<uint16_t>(block));
      const float minimum = half_to_float(load<uint16_t>(block + 2));
      decode_nibbles(block + 4, into, [=](int code) { return static_cast<float>(code) * scale + minimum; });
      return;
    }
    case GgmlType::kQ8_0: {
      const float scale = half_to_float(load<uint16_t>(block));
      for (int64_t j = 0; j < kBlock; ++j) into[j] = static_cast<float>(static_cast<int8_t>(block[2 + j])) * scale;
      return;
    }
    case GgmlType::kF32: *into = load<float>(block); return;
    case GgmlType::kF16: *into = half_to_float(load<uint16_t>(block)); return;
    case GgmlType::kBF16: *into = bf16_to_float(load<uint16_t>(block)); return;
  }
}

}  // namespace

const GgmlTraits* find_ggml_traits(uint32_t type) {
  for (const GgmlTraits& traits : kTraits) {
    if (static_cast<uint32_t>(traits.type) == type) return &traits;
  }
  return nullptr;
}

const GgmlTraits& ggml_traits(GgmlType type) {
  const GgmlTraits* traits = find_ggml_traits(static_cast<uint32_t>(type));
  if (traits == nullptr) throw std::logic_error("no such tensor type");
  return *traits;
}

std::string ggml_type_name(uint32_t type) {
  if (type < kNames.size() && !kNames[type].empty()) return std::string(kNames[type]);
  return fmt::format("type {}", type);
}

void dequantize_rows(const GgufFile& file, const GgufTensor& tensor, int64_t first_row, int64_t rows, float* into) {
  if (first_row < 0 || rows < 0 || first_row > tensor.rows() || rows > tensor.rows() - first_row) {
    throw std::logic_error(fmt::format("rows {}..{} of tensor '{}' with {} rows", first_row, first_row + rows, tensor.name,
                                       tensor.rows()));
  }
  const GgmlTraits& traits = ggml_traits(tensor.type);
  const std::byte* block = file.bytes(tensor).data() + first_row * tensor.row_bytes();
  const int64_t blocks = rows * (tensor.row_elements() / traits.block_elements);
  for (int64_t i = 0; i < blocks; ++i) {
    decode_block(traits.type, block, into);
    block += traits.block_bytes;
    into += traits.block_elements;
  }
}

}  // namespace nibble::io
