#include "io/tensor_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <stdexcept>

#include "core/error.h"

namespace nibble::io {
namespace {

// All exponent bits set: NaN or infinity, in every IEEE-like format. Branch-free inside, so that it runs at memory speed.
template <typename Bits>
int64_t first_with_exponent(const Bits* bits, int64_t n, Bits exponent) {
  constexpr int64_t kPiece = 4096;
  for (int64_t begin = 0; begin < n; begin += kPiece) {
    const int64_t end = std::min(n, begin + kPiece);
    Bits any = 0;
    for (int64_t i = begin; i < end; ++i) any |= static_cast<Bits>((bits[i] & exponent) == exponent);
    if (any == 0) continue;
    for (int64_t i = begin; i < end; ++i) {
      if ((bits[i] & exponent) == exponent) return i;
    }
  }
  return -1;
}

template <typename Bits>
int64_t first_parallel(const void* data, int64_t n, Bits exponent) {
  const auto* bits = static_cast<const Bits*>(data);
  std::atomic<int64_t> first{std::numeric_limits<int64_t>::max()};
  at::parallel_for(0, n, int64_t{1} << 20, [&](int64_t begin, int64_t end) {
    const int64_t found = first_with_exponent(bits + begin, end - begin, exponent);
    if (found < 0) return;
    int64_t best = first.load();
    while (begin + found < best && !first.compare_exchange_weak(best, begin + found)) {
    }
  });
  return first.load();
}

}  // namespace

std::optional<int64_t> first_non_finite(const Tensor& tensor) {
  if (!tensor.is_contiguous()) throw std::logic_error("first_non_finite needs a contiguous tensor");
  const int64_t n = tensor.numel();
  int64_t first = std::numeric_limits<int64_t>::max();
  if (n == 0) return std::nullopt;
  if (tensor.scalar_type() == at::kBFloat16) {
    first = first_parallel<uint16_t>(tensor.const_data_ptr(), n, 0x7F80);
  } else if (tensor.scalar_type() == at::kHalf) {
    first = first_parallel<uint16_t>(tensor.const_data_ptr(), n, 0x7C00);
  } else if (tensor.scalar_type() == at::kFloat) {
    first = first_parallel<uint32_t>(tensor.const_data_ptr(), n, 0x7F800000u);
  } else {
    throw std::logic_error("first_non_finite knows bf16, fp16 and fp32");
  }
  return first < n ? std::optional(first) : std::nullopt;
}

void expect_finite(const Tensor& tensor, const std::string& name, const Place& place) {
  const auto index = first_non_finite(tensor);
  if (!index) return;
  throw FormatError(fmt::format("weight '{}' is {} at index {}; the file is damaged or the model diverged: take another copy", name,
                                tensor.flatten()[*index].item<float>(), *index), place);
}

}  // namespace nibble::io
