#include "nn/loss.h"

#include <algorithm>
#include <numeric>

#include "nn/cross_entropy.h"
#include "tensor/shape.h"

namespace nibble::nn {

LabelledRows labelled_rows(std::span<const int32_t> labels, std::span<const int32_t> document_starts) {
  LabelledRows labelled;
  for (size_t d = 0; d + 1 < document_starts.size(); ++d) {
    for (int64_t p = document_starts[d]; p + 1 < document_starts[d + 1]; ++p) {
      const int32_t label = labels[static_cast<size_t>(p + 1)];
      if (label < 0) continue;
      labelled.rows.push_back(p);
      labelled.targets.push_back(label);
    }
  }
  return labelled;
}

LossSum head_loss(const Tensor& hidden, const Tensor& head, const LabelledRows& labelled, int64_t chunk_rows,
                  const Tensor& d_hidden, Arena& scratch) {
  const int64_t width = hidden.size(1), vocab = head.size(0);
  const auto count = static_cast<int64_t>(labelled.rows.size());
  tensor::expect_shape(head, {-1, width}, "head");
  const bool backward = d_hidden.defined();
  if (backward) {
    tensor::expect_shape(d_hidden, {hidden.size(0), width}, "d_hidden");
    if (count < hidden.size(0)) d_hidden.zero_();
  }
  LossSum sum{0.0, count};
  std::vector<double> nll(static_cast<size_t>(std::min(chunk_rows, count)));
  for (int64_t begin = 0; begin < count; begin += chunk_rows) {
    ArenaScope scope(scratch);
    const int64_t rows = std::min(chunk_rows, count - begin);
    const Tensor index = at::from_blob(const_cast<int64_t*>(labelled.rows.data() + begin), {rows}, at::kLong);
    const std::span targets(labelled.targets.data() + begin, static_cast<size_t>(rows));
    Tensor x = scratch.take({rows, width}, hidden.scalar_type());
    at::index_select_out(x, hidden, 0, index);
    Tensor logits = scratch.take({rows, vocab}, hidden.scalar_type());
    at::mm_out(logits, x, head.t());
    if (backward) {
      cross_entropy_backward_in_place(logits, targets, nll);
      Tensor dx = x;  // its forward value has done its work
      at::mm_out(dx, logits, head);
      d_hidden.index_copy_(0, index, dx);
    } else {
      cross_entropy(logits, targets, nll);
    }
    sum.nll = std::accumulate(nll.begin(), nll.begin() + rows, sum.nll);
  }
  return sum;
}

}  // namespace nibble::nn
