#include "nn/linear.h"

#include "nn/dropout.h"
#include "nn/elementwise.h"
#include "tensor/shape.h"

namespace nibble::nn {
namespace {

// The input of A: x itself, or x with its dropout mask, which is a function of the counter and so never stored.
Tensor adapter_input(const Lora& lora, const Tensor& x, const DropoutContext& context, Workspace& ws) {
  if (!context.training || lora.dropout == 0.0f) return x;
  Tensor dropped = ws.scratch.take(x.sizes(), x.scalar_type());
  dropout(x, dropped, lora.dropout, dropout_key(context.seed, context.micro_step, lora.number), ws.place.queue);
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
  Tensor out = y;
  if (linear.bias.defined()) {
    at::addmm_out(out, linear.bias, x, weight.t());
  } else {
    at::mm_out(out, x, weight.t());
  }
  if (!linear.lora) return {};
  const Lora& lora = *linear.lora;
  Tensor h = keep.take({tokens, lora.rank()}, x.scalar_type());
  ArenaScope scope(ws.scratch);
  at::mm_out(h, adapter_input(lora, x, dropout, ws), lora.a.t());
  at::addmm_out(out, out, h, lora.b.t(), 1, lora.scale);
  return h;
}

Tensor linear_backward_input(Linear& linear, const Tensor& h, const Tensor& dy, const Tensor& dx, Into into,
                             const DropoutContext& context, Workspace& ws) {
  const int64_t tokens = dy.size(0);
  tensor::expect_shape(dy, {-1, linear.weight.out()}, "dy");
  Tensor grad = dx;
  if (grad.defined()) {
    tensor::expect_shape(grad, {tokens, linear.weight.in()}, "dx");
    const Tensor weight = decoded_weight(linear.weight, dy.scalar_type(), ws);
    if (into == Into::kWrite) {
      at::mm_out(grad, dy, weight);
    } else {
      at::addmm_out(grad, grad, dy, weight);
    }
  }
  if (!linear.lora) return {};
  Lora& lora = *linear.lora;
  tensor::expect_shape(h, {tokens, lora.rank()}, "h");
  const at::ScalarType dtype = dy.scalar_type();
  // dh = scale * dy B;  dB += scale * dy^T h;  dx += mask(dh A)
  Tensor dh = ws.scratch.take(h.sizes(), dtype);
  at::addmm_out(dh, dh, dy, lora.b, /*beta=*/0, /*alpha=*/lora.scale);  // beta 0: what was in dh is not read
  ArenaScope scope(ws.scratch);
  Tensor db = ws.scratch.take(lora.b.sizes(), dtype);
  at::mm_out(db, dy.t(), h);
  add_scaled(lora.db, db, lora.scale, ws.place.queue);
  if (!grad.defined()) return dh;
  if (context.training && lora.dropout > 0.0f) {
    Tensor dropped = ws.scratch.take(grad.sizes(), dtype);
    at::mm_out(dropped, dh, lora.a);
    add_dropout(dropped, grad, lora.dropout, dropout_key(context.seed, context.micro_step, lora.number), ws.place.queue);
  } else {
    at::addmm_out(grad, grad, dh, lora.a);
  }
  return dh;
}

void linear_backward_a(Linear& linear, const Tensor& x, const Tensor& dh, const DropoutContext& context, Workspace& ws) {
  if (!linear.lora) return;
  Lora& lora = *linear.lora;
  ArenaScope scope(ws.scratch);
  Tensor da = ws.scratch.take(lora.a.sizes(), dh.scalar_type());
  at::mm_out(da, dh.t(), adapter_input(lora, x, context, ws));
  add_scaled(lora.da, da, 1.0f, ws.place.queue);
}

void linear_backward(Linear& linear, const Tensor& x, const Tensor& h, const Tensor& dy, const Tensor& dx, Into into,
                     const DropoutContext& context, Workspace& ws) {
  ArenaScope scope(ws.scratch);
  const Tensor dh = linear_backward_input(linear, h, dy, dx, into, context, ws);
  linear_backward_a(linear, x, dh, context, ws);
}

}  // namespace nibble::nn
