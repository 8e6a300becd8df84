#include "quant/layout.h"

namespace nibble::quant {

int64_t QuantizedWeight::bytes() const {
  int64_t total = 0;
  for (const Tensor* part : {&codes, &absmax, &absmax_codes, &nested_absmax}) {
    if (part->defined()) total += static_cast<int64_t>(part->nbytes());
  }
  return total;
}

}  // namespace nibble::quant
