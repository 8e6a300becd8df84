#include "nn/loss.h"

#include <algorithm>
#include <numeric>

#include "nn/cross_entropy.h"
#include "nn/cuda_table.h"
#include "nn/head.h"
#include "nn/torch_ops.h"
#include "tensor/shape.h"

namespace nibble::nn {

LabelledRows labelled_rows(std::span<const int32_t> labels, std::span<const int32_t> document_starts) {
  LabelledRows labelled;
  for (size_t d = 0; d + 1 < document_starts.size(); ++d) {
    for (int64_t p = document_starts[d]; p + 1 < document_starts[d + 1]; ++p) {
      const int32_t label = labels[static_cast<size_t>(p + 1)];
      if (label < 0) continue;
      labelled.rows.push_back(static_cast<int32_t>(p));
      labelled.targets.push_back(label);
    }
  }
  return labelled;
}

LossSum head_loss(const Tensor& hidden, const FrozenWeight& head, const LabelledRows& labelled, int64_t chunk_rows,
                  const Tensor& d_hidden, Workspace& ws) {
  const int64_t width = hidden.size(1), vocab = head.out();
  const auto count = static_cast<int64_t>(labelled.rows.size());
  const bool backward = d_hidden.defined();
  if (backward) {
    tensor::expect_shape(d_hidden, {hidden.size(0), width}, "d_hidden");
    if (count < hidden.size(0)) d_hidden.zero_();
  }
  LossSum sum{0.0, count};
  std::vector<double> nll(static_cast<size_t>(std::min(chunk_rows, count)));
  for (int64_t begin = 0; begin < count; begin += chunk_rows) {
    ArenaScope scope(ws.scratch);
    const int64_t rows = std::min(chunk_rows, count - begin);
    const Tensor index = at::from_blob(const_cast<int32_t*>(labelled.rows.data() + begin), {rows}, at::kInt).to(at::kLong);  // as index_copy_ wants
    const std::span targets(labelled.targets.data() + begin, static_cast<size_t>(rows));
    Tensor x = ws.scratch.take({rows, width}, hidden.scalar_type());
    at::index_select_out(x, hidden, 0, index);
    const Tensor logits = ws.scratch.take({rows, vocab}, hidden.scalar_type());
    head_logits(head, x, logits, ws);
    if (backward) {
      cross_entropy_backward_in_place(logits, targets, nll);
      const Tensor dx = x;  // its forward value has done its work
      head_backward(head, logits, dx, ws);
      d_hidden.index_copy_(0, index, dx);
    } else {
      cross_entropy(logits, targets, nll);
    }
    sum.nll = std::accumulate(nll.begin(), nll.begin() + rows, sum.nll);
  }
  return sum;
}

void head_loss_queued(const Tensor& hidden, const FrozenWeight& head, const Tensor& rows, const Tensor& targets,
                      int64_t chunk_rows, const Tensor& d_hidden, const Tensor& nll, Workspace& ws) {
  const gpu::Queue& queue = ws.place.queue;
  const CudaTable& kernels = *queue.module->nn;
  const int64_t count = rows.size(0), width = hidden.size(1), vocab = head.out();
  const bool backward = d_hidden.defined();
  if (backward && count < hidden.size(0)) fill_zero(d_hidden, queue);
  if (count == 0) return;
  ArenaScope scope(ws.scratch);
  const int64_t row_bytes = width * static_cast<int64_t>(hidden.element_size());
  const Tensor row_nll = ws.scratch.take({count}, at::kDouble);
  const Tensor x = ws.scratch.take({std::min(chunk_rows, count), width}, hidden.scalar_type());
  const Tensor logits = ws.scratch.take({std::min(chunk_rows, count), vocab}, hidden.scalar_type());
  for (int64_t begin = 0; begin < count; begin += chunk_rows) {
    const int64_t n = std::min(chunk_rows, count - begin);
    const Tensor chunk = x.narrow(0, 0, n), chunk_logits = logits.narrow(0, 0, n);
    const auto* chunk_rows_list = rows.const_data_ptr<int32_t>() + begin;
    kernels.copy_rows({hidden.data_ptr(), chunk.data_ptr(), chunk_rows_list, nullptr, n, row_bytes, row_bytes, row_bytes},
                      queue.stream);
    head_logits(head, chunk, chunk_logits, ws);
    kernels.cross_entropy({chunk_logits.data_ptr(), targets.const_data_ptr<int32_t>() + begin,
                           row_nll.mutable_data_ptr<double>() + begin, n, vocab, backward,
                           hidden.scalar_type() == at::kBFloat16}, queue.stream);
    if (!backward) continue;
    head_backward(head, chunk_logits, chunk, ws);  // its forward value has done its work
    kernels.copy_rows({chunk.data_ptr(), d_hidden.data_ptr(), nullptr, chunk_rows_list, n, row_bytes, row_bytes, row_bytes},
                      queue.stream);
  }
  kernels.nll_sum({row_nll.const_data_ptr<double>(), count, nll.mutable_data_ptr<double>(), /*accumulate=*/true}, queue.stream);
}

}  // namespace nibble::nn
