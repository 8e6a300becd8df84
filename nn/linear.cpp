#include "nn/linear.h"

#include "nn/dropout.h"
#include "nn/lora_products.h"
#include "nn/torch_ops.h"
#include "tensor/shape.h"

namespace nibble::nn {
namespace {

// The input of A: x itself, or x with its dropout mask, which is a function of the counter and so never stored.
Tensor adapter_input(const Lora& lora, const Tensor& x, const DropoutContext& context, Workspace& ws) {
  if (!context.training || lora.dropout == 0.0f) return x;
  Tensor dropped = ws.scratch.take(x.sizes(), x.scalar_type());
  dropout(x, dropped, lora.dropout, dropout_key(context.seed, context.micro_step, lora.number), ws.place.queue, context.device_step);
  return dropped;
}

}  // namespace

Tensor decoded_weight(const FrozenWeight& weight, at::ScalarType dtype, Workspace& ws) {
  return weight.quantized() ? ws.panels.decoded(weight.packed, dtype) : weight.dense;
}

Tensor linear_forward(const Linear& linear, const Tensor& x, const Tensor& y, const DropoutContext& dropout, Workspace& ws,
                      Arena& keep) {
  const int64_t tokens = x.size(0);
  tensor::expect_shape(x, {-1, linear.weight.in()}, "x");
  tensor::expect_shape(y, {tokens, linear.weight.out()}, "y");
  const Tensor weight = decoded_weight(linear.weight, x.scalar_type(), ws);
  if (linear.bias.defined()) {
    add_matmul(linear.bias, x, weight.t(), y, ws.place.queue);
  } else {
    matmul(x, weight.t(), y, ws.place.queue);
  }
  if (!linear.lora) return {};
  const Lora& lora = *linear.lora;
  Tensor h = keep.take({tokens, lora.rank()}, x.scalar_type());
  ArenaScope scope(ws.scratch);
  project_to_rank(adapter_input(lora, x, dropout, ws), lora.a, Factor::kA, 1.0f, h, ws.scratch, ws.place.queue);
  add_from_rank(h, lora.b, Factor::kB, lora.scale, y, ws.scratch, ws.place.queue);
  return h;
}

Tensor linear_backward_input(Linear& linear, const Tensor& h, const Tensor& dy, const Tensor& dx, Into into,
                             const DropoutContext& context, Workspace& ws) {
  const int64_t tokens = dy.size(0);
  tensor::expect_shape(dy, {-1, linear.weight.out()}, "dy");
  if (dx.defined()) {
    tensor::expect_shape(dx, {tokens, linear.weight.in()}, "dx");
    const Tensor weight = decoded_weight(linear.weight, dy.scalar_type(), ws);
    if (into == Into::kWrite) {
      matmul(dy, weight, dx, ws.place.queue);
    } else {
      add_matmul(dx, dy, weight, dx, ws.place.queue);
    }
  }
  if (!linear.lora) return {};
  Lora& lora = *linear.lora;
  tensor::expect_shape(h, {tokens, lora.rank()}, "h");
  const at::ScalarType dtype = dy.scalar_type();
  // dh = scale * dy B;  dB += scale * dy^T h;  dx += mask(dh A)
  Tensor dh = ws.scratch.take(h.sizes(), dtype);
  project_to_rank(dy, lora.b, Factor::kB, lora.scale, dh, ws.scratch, ws.place.queue);
  add_factor_gradient(h, dy, Factor::kB, lora.scale, lora.db, ws.scratch, ws.place.queue);
  if (!dx.defined()) return dh;
  if (context.training && lora.dropout > 0.0f) {
    ArenaScope scope(ws.scratch);
    Tensor dropped = ws.scratch.take(dx.sizes(), dtype);
    matmul(dh, lora.a, dropped, ws.place.queue);
    add_dropout(dropped, dx, lora.dropout, dropout_key(context.seed, context.micro_step, lora.number), ws.place.queue,
                context.device_step);
  } else {
    add_from_rank(dh, lora.a, Factor::kA, 1.0f, dx, ws.scratch, ws.place.queue);
  }
  return dh;
}

void linear_backward_a(Linear& linear, const Tensor& x, const Tensor& dh, const DropoutContext& context, Workspace& ws) {
  if (!linear.lora) return;
  Lora& lora = *linear.lora;
  ArenaScope scope(ws.scratch);
  add_factor_gradient(dh, adapter_input(lora, x, context, ws), Factor::kA, 1.0f, lora.da, ws.scratch, ws.place.queue);
}

void linear_backward(Linear& linear, const Tensor& x, const Tensor& h, const Tensor& dy, const Tensor& dx, Into into,
                     const DropoutContext& context, Workspace& ws) {
  ArenaScope scope(ws.scratch);
  const Tensor dh = linear_backward_input(linear, h, dy, dx, into, context, ws);
  linear_backward_a(linear, x, dh, context, ws);
}

}  // namespace nibble::nn
