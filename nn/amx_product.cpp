#include "nn/amx_product.h"

#include <algorithm>

#include "core/amx.h"
#include "core/round_up.h"
#include "nn/amx_product_cpu.h"
#include "nn/rows.h"

namespace nibble::nn {
namespace {

constexpr int64_t kMinRows = 16;      // below, packing the right operand would cost more than the product
constexpr int64_t kMostTerms = 2048;  // of a sum's part: 1,024 rows of it and a panel stay in the second cache

ConstRows rows_of(const Tensor& t) { return {elements<uint16_t>(t), t.stride(0)}; }

bool is_bf16(const Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kBFloat16; }

// Memory of the calling thread, 64-byte aligned, for panels and partial sums: kept, since every product needs it.
float* thread_scratch(int64_t floats) {
  static thread_local Tensor memory;
  if (!memory.defined() || memory.numel() < floats) memory = at::empty({floats}, at::kFloat);
  return elements<float>(memory);
}

// Columns of a right operand, packed on demand.
class Panels {
 public:
  explicit Panels(const Tensor& b) : from_rows_(b.stride(0) == 1 && b.stride(1) != 1), b_(from_rows_ ? rows_of(b.t()) : rows_of(b)) {}

  // The terms [k, k + terms) of `count` columns.
  void pack(int64_t column, int64_t count, int64_t k, int64_t terms, int64_t step, uint16_t* panel) const {
    if (from_rows_) {
      pack_panel_from_rows_cpu({b_.data + column * b_.stride + k, b_.stride}, count, terms, step, panel);
    } else {
      pack_panel_from_columns_cpu({b_.data + k * b_.stride + column, b_.stride}, count, terms, step, panel);
    }
  }

 private:
  bool from_rows_;
  ConstRows b_;
};

// One product, shared out by panels of columns, or by rows where there are fewer panels than threads.
class Product {
 public:
  Product(const Tensor& a, const Tensor& b)
      : x_(rows_of(a)), rows_(a.size(0)), summed_(a.size(1)), columns_(b.size(1)), step_(amx_step(summed_)), b_(b),
        panels_((columns_ + kPanelColumns - 1) / kPanelColumns), part_(std::min(summed_, kMostTerms / step_ * step_)) {}

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
        b_.pack(column, count, k, terms, step_, panel);
        float* const partial = in_parts ? scratch + panel_floats + (p - first_panel) * sums : nullptr;
        PanelProduct product{{x_.data + first_row * x_.stride + k, x_.stride}, rows, terms, step_, panel, count, partial};
        if (k + terms < summed_) {
          sum_panel_product_cpu(product, k > 0);
        } else {
          finish(product, first_row, column);
        }
      }
    }
  }

  ConstRows x_;
  int64_t rows_, summed_, columns_, step_;
  Panels b_;
  int64_t panels_, part_;
};

}  // namespace

bool amx_takes_sum(int64_t summed) { return amx_step(summed) > 0 && amx_bf16_usable(); }

bool amx_takes(int64_t rows, int64_t summed) { return rows >= kMinRows && amx_takes_sum(summed); }

bool amx_takes_low_rank(int64_t rows, int64_t summed, int64_t rank) {
  return amx_takes(rows, summed) && amx_step(summed) == kLowRankStep && rank <= kMostLowRank;
}

bool amx_matmul(const Tensor& c, const Tensor& a, const Tensor& b, const Tensor& out, float beta, float alpha, const LowRank& low) {
  const bool adds = c.defined() && beta != 0.0f;
  if (!is_bf16(a) || !is_bf16(b) || !is_bf16(out) || !amx_takes(a.size(0), a.size(1))) return false;
  if (a.stride(1) != 1 || out.stride(1) != 1 || (b.stride(0) != 1 && b.stride(1) != 1)) return false;
  if (adds && (beta != 1.0f || !is_bf16(c) || c.stride(-1) != 1)) return false;
  if (low.h.defined() && !amx_takes_low_rank(a.size(0), a.size(1), low.h.size(1))) return false;
  const int64_t stride = out.stride(0), c_stride = adds && c.dim() == 2 ? c.stride(0) : 0;
  auto* const y = elements<uint16_t>(out);
  const uint16_t* const old = adds ? elements<uint16_t>(c) : nullptr;
  const auto added = [&](int64_t row, int64_t column) {
    return ConstRows{old == nullptr ? nullptr : old + row * c_stride + column, c_stride};
  };
  if (!low.h.defined()) {
    Product(a, b).run([&](const PanelProduct& product, int64_t row, int64_t column) {
      store_panel_product_cpu(product, alpha, {}, added(row, column), y + row * stride + column, stride);
    });
    return true;
  }
  const int64_t rank = low.h.size(1);
  const ConstRows h = rows_of(low.h);
  const Panels factor(low.factor);
  Product(a, b).run([&](const PanelProduct& product, int64_t row, int64_t column) {
    alignas(64) uint16_t panel[kMostLowRank * kPanelColumns];
    factor.pack(column, product.columns, 0, rank, kLowRankStep, panel);
    store_panel_product_cpu(product, alpha, {{h.data + row * h.stride, h.stride}, panel, rank, low.scale}, added(row, column),
                            y + row * stride + column, stride);
  });
  return true;
}

void amx_add_product(const Tensor& left, const Tensor& right, float scale, const Tensor& gradient) {
  const int64_t down = gradient.stride(0), across = gradient.stride(1);
  auto* const g = elements<float>(gradient);
  Product(left, right).run([&](const PanelProduct& product, int64_t row, int64_t column) {
    add_panel_product_cpu(product, scale, g + row * down + column * across, down, across);
  });
}

}  // namespace nibble::nn
