#include "nn/amx_product.h"

#include <algorithm>

#include "core/amx.h"
#include "core/round_up.h"
#include "nn/amx_product_cpu.h"
#include "nn/rows.h"

namespace nibble::nn {
namespace {

constexpr int64_t kMinRows = 16;    // below, packing the right operand would cost more than the product
constexpr int64_t kMostTerms = 2048;  // of a sum's part: 1,024 rows of it and a panel stay in the second cache

ConstRows rows_of(const Tensor& t) { return {elements<uint16_t>(t), t.stride(0)}; }

bool is_bf16(const Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kBFloat16; }

// Memory of the calling thread, 64-byte aligned, for panels and partial sums: kept, since every product needs it.
float* thread_scratch(int64_t floats) {
  static thread_local Tensor memory;
  if (!memory.defined() || memory.numel() < floats) memory = at::empty({floats}, at::kFloat);
  return elements<float>(memory);
}

// One product, shared out by panels of columns, or by rows where there are fewer panels than threads.
class Product {
 public:
  Product(const Tensor& a, const Tensor& b)
      : x_(rows_of(a)), rows_(a.size(0)), summed_(a.size(1)), columns_(b.size(1)), from_rows_(b.stride(0) == 1 && b.stride(1) != 1),
        b_(from_rows_ ? rows_of(b.t()) : rows_of(b)), panels_((columns_ + kPanelColumns - 1) / kPanelColumns),
        part_(amx_step(summed_) == 0 ? 0 : std::min(summed_, kMostTerms / amx_step(summed_) * amx_step(summed_))) {}

  static bool takes(const Tensor& a, const Tensor& b) {
    return is_bf16(a) && is_bf16(b) && (b.stride(0) == 1 || b.stride(1) == 1) && amx_step(a.size(1)) > 0 && amx_bf16_usable();
  }

  // finish(product, first row, first column) writes what a panel's sums become.
  template <class Finish>
  void run(const Finish& finish) const {
    const int64_t threads = at::get_num_threads();
    if (panels_ >= 2 * threads || rows_ < 2 * 64) {
      at::parallel_for(0, panels_, 1, [&](int64_t begin, int64_t end) { sum(begin, end, 0, rows_, finish); });
      return;
    }
    at::parallel_for(0, (rows_ + 63) / 64, 1, [&](int64_t begin, int64_t end) {
      sum(0, panels_, 64 * begin, std::min(rows_, 64 * end), finish);
    });
  }

 private:
  template <class Finish>
  void sum(int64_t first_panel, int64_t last_panel, int64_t first_row, int64_t last_row, const Finish& finish) const {
    const int64_t rows = last_row - first_row, panels = last_panel - first_panel;
    const bool in_parts = part_ < summed_;
    const int64_t panel_floats = round_up(panel_values(part_) / 2, 16), sums = in_parts ? rows * kPanelColumns : 0;
    float* const scratch = thread_scratch(panel_floats + panels * sums);
    auto* const panel = reinterpret_cast<uint16_t*>(scratch);
    for (int64_t k = 0; k < summed_; k += part_) {
      const int64_t terms = std::min(part_, summed_ - k);
      for (int64_t p = first_panel; p < last_panel; ++p) {
        const int64_t column = p * kPanelColumns, count = std::min(kPanelColumns, columns_ - column);
        pack(column, count, k, terms, panel);
        float* const partial = in_parts ? scratch + panel_floats + (p - first_panel) * sums : nullptr;
        PanelProduct product{{x_.data + first_row * x_.stride + k, x_.stride}, rows, terms, amx_step(summed_), panel, count, partial};
        if (k + terms < summed_) {
          sum_panel_product_cpu(product, k > 0);
        } else {
          finish(product, first_row, column);
        }
      }
    }
  }

  void pack(int64_t column, int64_t count, int64_t k, int64_t terms, uint16_t* panel) const {
    if (from_rows_) {
      pack_panel_from_rows_cpu({b_.data + column * b_.stride + k, b_.stride}, count, terms, amx_step(summed_), panel);
    } else {
      pack_panel_from_columns_cpu({b_.data + k * b_.stride + column, b_.stride}, count, terms, amx_step(summed_), panel);
    }
  }

  ConstRows x_;
  int64_t rows_, summed_, columns_;
  bool from_rows_;
  ConstRows b_;
  int64_t panels_, part_;
};

}  // namespace

bool amx_matmul(const Tensor& c, const Tensor& a, const Tensor& b, const Tensor& out, float beta, float alpha) {
  const bool adds = c.defined() && beta != 0.0f;
  if (a.size(0) < kMinRows || !is_bf16(out) || out.stride(1) != 1 || a.stride(1) != 1 || !Product::takes(a, b)) return false;
  if (adds && (beta != 1.0f || !is_bf16(c) || c.stride(-1) != 1)) return false;
  const int64_t stride = out.stride(0), c_stride = adds && c.dim() == 2 ? c.stride(0) : 0;
  auto* const y = elements<uint16_t>(out);
  const uint16_t* const old = adds ? elements<uint16_t>(c) : nullptr;
  Product(a, b).run([&](const PanelProduct& product, int64_t row, int64_t column) {
    const ConstRows added{old == nullptr ? nullptr : old + row * c_stride + column, c_stride};
    store_panel_product_cpu(product, alpha, added, y + row * stride + column, stride);
  });
  return true;
}

bool amx_takes_product(const Tensor& left, const Tensor& right) { return Product::takes(left, right); }

void amx_add_product(const Tensor& left, const Tensor& right, float scale, const Tensor& gradient) {
  const int64_t down = gradient.stride(0), across = gradient.stride(1);
  auto* const g = elements<float>(gradient);
  Product(left, right).run([&](const PanelProduct& product, int64_t row, int64_t column) {
    add_panel_product_cpu(product, scale, g + row * down + column * across, down, across);
  });
}

}  // namespace nibble::nn
