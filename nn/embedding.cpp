#include "nn/embedding.h"

#include "nn/cuda_table.h"
#include "tensor/shape.h"

namespace nibble::nn {

void embed(const Tensor& table, const Tensor& ids, const Tensor& x, const gpu::Queue& queue) {
  const int64_t tokens = ids.size(0), width = table.size(1);
  tensor::expect_shape(x, {tokens, width}, "embedded tokens");
  if (!queue) {
    Tensor out = x;
    at::index_select_out(out, table, 0, ids);
    return;
  }
  const int64_t row_bytes = width * static_cast<int64_t>(x.element_size());
  queue.module->nn->copy_rows({table.data_ptr(), x.data_ptr(), ids.const_data_ptr<int32_t>(), nullptr, tokens, row_bytes, row_bytes,
                               row_bytes}, queue.stream);
}

}  // namespace nibble::nn
