// One row of softmax cross entropy on plain pointers.
#pragma once

#include <cstdint>

namespace nibble::nn {

// -> nll of the row in nats. With `gradient`, the row becomes softmax(row) - onehot(target).
double cross_entropy_row_f32(float* row, int64_t vocab, int64_t target, bool gradient);
double cross_entropy_row_bf16(uint16_t* row, int64_t vocab, int64_t target, bool gradient);

}  // namespace nibble::nn
