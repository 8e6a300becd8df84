#include "nn/cross_entropy.h"

#include <stdexcept>

#include "nn/cross_entropy_cpu.h"

namespace nibble::nn {
namespace {

void run(const Tensor& logits, std::span<const int32_t> targets, std::span<double> nll, bool gradient) {
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  if (!logits.is_contiguous() || static_cast<int64_t>(targets.size()) < rows || static_cast<int64_t>(nll.size()) < rows) {
    throw std::logic_error("cross_entropy: logits are not contiguous, or targets or nll are shorter than their rows");
  }
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto r = static_cast<size_t>(i);
      if (logits.scalar_type() == at::kFloat) {
        nll[r] = cross_entropy_row_f32(static_cast<float*>(logits.data_ptr()) + i * vocab, vocab, targets[r], gradient);
      } else {
        nll[r] = cross_entropy_row_bf16(static_cast<uint16_t*>(logits.data_ptr()) + i * vocab, vocab, targets[r], gradient);
      }
    }
  });
}

}  // namespace

void cross_entropy(const Tensor& logits, std::span<const int32_t> targets, std::span<double> nll) {
  run(logits, targets, nll, false);
}

void cross_entropy_backward_in_place(const Tensor& logits, std::span<const int32_t> targets, std::span<double> nll) {
  run(logits, targets, nll, true);
}

}  // namespace nibble::nn
