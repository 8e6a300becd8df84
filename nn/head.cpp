#include "nn/head.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "nn/torch_ops.h"
#include "quant/blockwise.h"
#include "tensor/shape.h"

namespace nibble::nn {
namespace {

// Large enough for products at full speed, small beside the logits of a chunk.
constexpr int64_t kPanelElements = int64_t{16} << 20;

// Calls each(begin, rows, panel) with every decoded panel, in order; a panel is valid during its call.
template <class Each>
void each_panel(const quant::QuantizedWeight& head, at::ScalarType dtype, Workspace& ws, Each each) {
  const int64_t step = head_panel_rows(head);
  for (int64_t begin = 0; begin < head.out; begin += step) {
    ArenaScope scope(ws.scratch);
    const int64_t rows = std::min(step, head.out - begin);
    const Tensor panel = ws.scratch.take({rows, head.in}, dtype);
    quant::dequantize_into(head_panel(head, begin, begin + rows), panel, ws.place.queue);
    each(begin, rows, panel);
  }
}

void expect_shapes(const FrozenWeight& head, const Tensor& hidden, const Tensor& logits) {
  tensor::expect_shape(hidden, {-1, head.in()}, "hidden states");
  tensor::expect_shape(logits, {hidden.size(0), head.out()}, "logits");
}

}  // namespace

int64_t head_panel_rows(const quant::QuantizedWeight& head) {
  // A panel begins where a group of scales does.
  const int64_t group = head.config.blocksize * quant::kNestedBlocksize;
  const int64_t aligned = group / std::gcd(group, head.in);
  return std::min(head.out, std::max<int64_t>(1, kPanelElements / (head.in * aligned)) * aligned);
}

quant::QuantizedWeight head_panel(const quant::QuantizedWeight& head, int64_t begin, int64_t end) {
  const int64_t blocksize = head.config.blocksize, first = begin * head.in;
  if (begin < 0 || begin >= end || end > head.out || first % (blocksize * quant::kNestedBlocksize) != 0) {
    throw std::logic_error("a panel of the head must begin where a group of scales does");
  }
  quant::QuantizedWeight panel = head;
  panel.out = end - begin;
  panel.codes = head.codes.narrow(0, first / 2, (panel.numel() + 1) / 2);
  const int64_t first_block = first / blocksize, blocks = panel.blocks();
  if (!head.config.double_quant) {
    panel.absmax = head.absmax.narrow(0, first_block, blocks);
    return panel;
  }
  panel.absmax_codes = head.absmax_codes.narrow(0, first_block, blocks);
  panel.nested_absmax = head.nested_absmax.narrow(0, first_block / quant::kNestedBlocksize,
                                                  (blocks + quant::kNestedBlocksize - 1) / quant::kNestedBlocksize);
  return panel;
}

void head_logits(const FrozenWeight& head, const Tensor& x, const Tensor& logits, Workspace& ws) {
  expect_shapes(head, x, logits);
  const gpu::Queue& queue = ws.place.queue;
  if (!head.quantized()) return matmul(x, head.dense.t(), logits, queue);
  each_panel(head.packed, x.scalar_type(), ws, [&](int64_t begin, int64_t rows, const Tensor& panel) {
    matmul(x, panel.t(), logits.narrow(1, begin, rows), queue);
  });
}

void head_backward(const FrozenWeight& head, const Tensor& dlogits, const Tensor& dx, Workspace& ws) {
  expect_shapes(head, dx, dlogits);
  const gpu::Queue& queue = ws.place.queue;
  if (!head.quantized()) return matmul(dlogits, head.dense, dx, queue);
  if (head_panel_rows(head.packed) == head.out()) {
    each_panel(head.packed, dx.scalar_type(), ws, [&](int64_t, int64_t, const Tensor& panel) { matmul(dlogits, panel, dx, queue); });
    return;
  }
  // A sum over panels in bf16 would round once a panel.
  ArenaScope scope(ws.scratch);
  const Tensor sum = ws.scratch.take(dx.sizes(), at::kFloat);
  const Tensor part = ws.scratch.take(dx.sizes(), dx.scalar_type());
  each_panel(head.packed, dx.scalar_type(), ws, [&](int64_t begin, int64_t rows, const Tensor& panel) {
    matmul(dlogits.narrow(1, begin, rows), panel, part, queue);
    if (begin == 0) copy_into(part, sum, queue); else add_into(part, sum, queue);
  });
  copy_into(sum, dx, queue);
}

}  // namespace nibble::nn
