#include "nn/linear.h"

#include <stdexcept>

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

// Whether the adapter's part is added while the product is written: on a CPU with AMX.
bool in_one_product(const Tensor& x, const Lora& lora, const Workspace& ws) {
  return !ws.place.queue && x.scalar_type() == at::kBFloat16 && amx_takes_low_rank(x.size(0), x.size(1), lora.rank());
}

// y = x w + c with w the weight or its transpose, or without c where it is undefined; plus `low`, where it is defined, which
// in_one_product has allowed.
void frozen_product(const Tensor& c, const Tensor& x, const FrozenWeight& weight, bool transposed, const Tensor& y, const LowRank& low,
                    Workspace& ws) {
  const auto as_used = [&](const Tensor& w) { return transposed ? w.t() : w; };
  if (!ws.place.queue) {
    const RightOperand w = weight.quantized() ? RightOperand(weight.packed, transposed) : RightOperand(as_used(weight.dense));
    if (amx_matmul(c, x, w, y, c.defined() ? 1.0f : 0.0f, 1.0f, low)) return;
  }
  if (low.h.defined()) throw std::logic_error("a product with an adapter: an operand is not as it must be");
  const Tensor w = as_used(decoded_weight(weight, x.scalar_type(), ws));
  if (c.defined()) {
    add_matmul(c, x, w, y, ws.place.queue);
  } else {
    matmul(x, w, y, ws.place.queue);
  }
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
  const auto base = [&](const LowRank& low) { frozen_product(linear.bias, x, linear.weight, /*transposed=*/true, y, low, ws); };
  if (!linear.lora) {
    base({});
    return {};
  }
  const Lora& lora = *linear.lora;
  Tensor h = keep.take({tokens, lora.rank()}, x.scalar_type());
  ArenaScope scope(ws.scratch);
  project_to_rank(adapter_input(lora, x, dropout, ws), lora.a, Factor::kA, 1.0f, h, ws.scratch, ws.place.queue);
  if (in_one_product(x, lora, ws)) {
    base(padded_low_rank(h, lora.b, Factor::kB, lora.scale, ws.scratch));
  } else {
    base({});
    add_from_rank(h, lora.b, Factor::kB, lora.scale, y, ws.scratch, ws.place.queue);
  }
  return h;
}

Tensor linear_backward_input(Linear& linear, const Tensor& h, const Tensor& dy, const Tensor& dx, Into into,
                             const DropoutContext& context, Workspace& ws) {
  const int64_t tokens = dy.size(0);
  tensor::expect_shape(dy, {-1, linear.weight.out()}, "dy");
  const auto base = [&](const LowRank& low) {
    tensor::expect_shape(dx, {tokens, linear.weight.in()}, "dx");
    frozen_product(into == Into::kAdd ? dx : Tensor(), dy, linear.weight, /*transposed=*/false, dx, low, ws);
  };
  if (!linear.lora) {
    if (dx.defined()) base({});
    return {};
  }
  Lora& lora = *linear.lora;
  tensor::expect_shape(h, {tokens, lora.rank()}, "h");
  const at::ScalarType dtype = dy.scalar_type();
  // dh = scale * dy B;  dB += scale * dy^T h;  dx += mask(dh A)
  Tensor dh = ws.scratch.take(h.sizes(), dtype);
  project_to_rank(dy, lora.b, Factor::kB, lora.scale, dh, ws.scratch, ws.place.queue);
  add_factor_gradient(h, dy, Factor::kB, lora.scale, lora.db, ws.scratch, ws.place.queue);
  if (!dx.defined()) return dh;
  ArenaScope scope(ws.scratch);
  const bool masked = context.training && lora.dropout > 0.0f;
  if (!masked && in_one_product(dy, lora, ws)) {
    base(padded_low_rank(dh, lora.a, Factor::kA, 1.0f, ws.scratch));
    return dh;
  }
  base({});
  if (masked) {
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
