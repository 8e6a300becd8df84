#include "nn/amx_product.h"

#include <algorithm>
#include <optional>

#include "core/amx.h"
#include "core/round_up.h"
#include "nn/amx_product_cpu.h"
#include "nn/each_task.h"
#include "nn/rows.h"
#include "quant/blockwise.h"
#include "quant/blockwise_cpu.h"

namespace nibble::nn {
namespace {

constexpr int64_t kMinRows = 16;      // below, packing the right operand would cost more than the product
constexpr int64_t kMostTerms = 2048;  // of a sum's part
constexpr int64_t kGroupPanels = 4;   // packed at a time
constexpr int64_t kBlockRows = 32;    // rows go by in blocks of a multiple of this,
constexpr int64_t kBlockValues = 128 << 10;  // of at most so many values

ConstRows rows_of(const Tensor& t) { return {elements<uint16_t>(t), t.stride(0)}; }

bool is_bf16(const Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kBFloat16; }

bool is_readable(const RightOperand& b) {
  if (b.packed != nullptr) return b.packed->codes.is_cpu();
  return is_bf16(b.dense) && (b.dense.stride(0) == 1 || b.dense.stride(1) == 1);
}

// Memory of the calling thread, 64-byte aligned, for panels and partial sums: kept, since every product needs it.
float* thread_scratch(int64_t floats) {
  static thread_local Tensor memory;
  if (!memory.defined() || memory.numel() < floats) memory = at::empty({floats}, at::kFloat);
  return elements<float>(memory);
}

constexpr int64_t kGroupColumns = kGroupPanels * kPanelColumns;  // of a weight [K, N] that is decoded by rows: two blocks of 64 at a time

// A right operand as plain pointers: rows of its transpose, its own rows, or codes that decode to one of these.
class Columns {
 public:
  Columns(const RightOperand& b) : from_rows_(b.packed != nullptr ? b.transposed : b.dense.stride(0) == 1 && b.dense.stride(1) != 1) {
    if (b.packed != nullptr) {
      span_ = quant::span_of(*b.packed);
      in_ = b.packed->in;
    } else {
      dense_ = from_rows_ ? rows_of(b.dense.t()) : rows_of(b.dense);
    }
    count_ = b.columns();
  }

  int64_t count() const { return count_; }

  // Values that a Packer of parts of so many terms decodes at a time.
  int64_t decoded_values(int64_t terms) const { return in_ == 0 ? 0 : terms * (from_rows_ ? kPanelColumns : kGroupColumns); }

 private:
  friend class Packer;
  bool from_rows_;
  ConstRows dense_{};
  quant::DequantizeSpan span_;
  int64_t in_ = 0;  // of codes
  int64_t count_;
};

// Packs panels of Columns, one thread's.
class Packer {
 public:
  // Of columns below `end`. SHAPES decoded [columns.decoded_values()]
  Packer(const Columns& columns, int64_t end, uint16_t* decoded) : c_(columns), end_(end), decoded_(decoded) {}

  // The terms [k, k + terms) of the columns from `column` on.
  void pack(int64_t column, int64_t count, int64_t k, int64_t terms, int64_t step, uint16_t* panel) {
    if (c_.from_rows_) {
      pack_panel_from_rows_cpu(rows(column, count, k, terms), count, terms, step, panel);
    } else {
      pack_panel_from_columns_cpu(columns(column, count, k, terms), count, terms, step, panel);
    }
  }

 private:
  ConstRows rows(int64_t column, int64_t count, int64_t k, int64_t terms) const {
    if (c_.in_ == 0) return {c_.dense_.data + column * c_.dense_.stride + k, c_.dense_.stride};
    if (terms == c_.in_) {
      decode(column * c_.in_, count * c_.in_, decoded_);
    } else {
      for (int64_t i = 0; i < count; ++i) decode((column + i) * c_.in_ + k, terms, decoded_ + i * terms);
    }
    return {decoded_, terms};
  }

  ConstRows columns(int64_t column, int64_t count, int64_t k, int64_t terms) {
    if (c_.in_ == 0) return {c_.dense_.data + k * c_.dense_.stride + column, c_.dense_.stride};
    if (k != group_k_ || column < group_begin_ || column + count > group_end_) {
      group_k_ = k;
      group_begin_ = column;
      group_end_ = std::min(column + kGroupColumns, end_);
      for (int64_t i = 0; i < terms; ++i) decode((k + i) * c_.in_ + group_begin_, group_end_ - group_begin_, decoded_ + i * kGroupColumns);
    }
    return {decoded_ + (column - group_begin_), kGroupColumns};
  }

  void decode(int64_t begin, int64_t count, uint16_t* out) const {
    static const quant::Isa isa = quant::best_isa();
    quant::dequantize_cpu(c_.span_, begin, begin + count, out, isa);
  }

  const Columns& c_;
  int64_t end_;
  uint16_t* decoded_;
  int64_t group_k_ = -1, group_begin_ = 0, group_end_ = 0;  // what `decoded_` holds of a weight that is decoded by rows
};

// One product, shared out by groups of panels, or by rows where there are too few panels.
class Product {
 public:
  Product(const Tensor& a, const RightOperand& b)
      : x_(rows_of(a)), rows_(a.size(0)), summed_(a.size(1)), step_(amx_step(summed_)), b_(b),
        panels_(ceil_div(b_.count(), kPanelColumns)), part_(std::min(summed_, kMostTerms / step_ * step_)) {}

  // finish(product, first row, first column) writes what a panel's sums become.
  template <class Finish>
  void run(const Finish& finish) const {
    const int64_t threads = at::get_num_threads();
    if (panels_ >= 2 * threads || rows_ < 2 * 64) {
      const int64_t groups = round_up(std::max(ceil_div(panels_, kGroupPanels), 4 * threads), threads), group = ceil_div(panels_, groups);
      each_task(ceil_div(panels_, group), [&](int64_t task, int64_t) {
        sum(task * group, std::min(panels_, (task + 1) * group), 0, rows_, finish);
      });
      return;
    }
    // Every task packs all panels, so its rows must be worth that.
    const int64_t rows = std::max<int64_t>(128, round_up(ceil_div(rows_, 4 * threads), 64));
    each_task(ceil_div(rows_, rows), [&](int64_t task, int64_t) {
      for (int64_t panel = 0; panel < panels_; panel += kGroupPanels) {
        sum(panel, std::min(panels_, panel + kGroupPanels), task * rows, std::min(rows_, (task + 1) * rows), finish);
      }
    });
  }

 private:
  // A group of panels. Rows come in blocks that all panels meet before the next one comes: what both take stays in the second cache, and
  // the left operand passes through it once a group.
  template <class Finish>
  void sum(int64_t first_panel, int64_t last_panel, int64_t first_row, int64_t last_row, const Finish& finish) const {
    const int64_t rows = last_row - first_row;
    const bool in_parts = part_ < summed_;
    const int64_t panel_floats = round_up(panel_values(part_) / 2, 16), decoded_floats = round_up(b_.decoded_values(part_) / 2, 16);
    const int64_t sums = in_parts ? rows * kPanelColumns : 0;
    float* const scratch = thread_scratch(kGroupPanels * (panel_floats + sums) + decoded_floats);
    float* const partials = scratch + kGroupPanels * panel_floats + decoded_floats;
    const auto panel = [&](int64_t p) { return reinterpret_cast<uint16_t*>(scratch + (p - first_panel) * panel_floats); };
    Packer packer(b_, std::min(last_panel * kPanelColumns, b_.count()), reinterpret_cast<uint16_t*>(scratch + kGroupPanels * panel_floats));
    const int64_t block = std::max<int64_t>(kBlockRows, kBlockValues / part_ / kBlockRows * kBlockRows);
    for (int64_t k = 0; k < summed_; k += part_) {
      const int64_t terms = std::min(part_, summed_ - k);
      for (int64_t p = first_panel; p < last_panel; ++p) packer.pack(p * kPanelColumns, columns_of(p), k, terms, step_, panel(p));
      for (int64_t row = 0; row < rows; row += block) {
        const ConstRows x{x_.data + (first_row + row) * x_.stride + k, x_.stride};
        for (int64_t p = first_panel; p < last_panel; ++p) {
          float* const partial = in_parts ? partials + (p - first_panel) * sums + row * kPanelColumns : nullptr;
          const PanelProduct product{x, std::min(block, rows - row), terms, step_, panel(p), columns_of(p), partial};
          if (k + terms < summed_) {
            sum_panel_product_cpu(product, k > 0);
          } else {
            finish(product, first_row + row, p * kPanelColumns);
          }
        }
      }
    }
  }

  int64_t columns_of(int64_t panel) const { return std::min(kPanelColumns, b_.count() - panel * kPanelColumns); }

  ConstRows x_;
  int64_t rows_, summed_, step_;
  Columns b_;
  int64_t panels_, part_;
};

}  // namespace

bool amx_takes_sum(int64_t summed) { return amx_step(summed) > 0 && amx_bf16_usable(); }

bool amx_takes(int64_t rows, int64_t summed) { return rows >= kMinRows && amx_takes_sum(summed); }

bool amx_takes_low_rank(int64_t rows, int64_t summed, int64_t rank) {
  return amx_takes(rows, summed) && amx_step(summed) == kLowRankStep && rank <= kMostLowRank;
}

int64_t amx_thread_bytes(int64_t rows, int64_t summed, int64_t columns) {
  const int64_t terms = std::min(summed, kMostTerms);
  return 2 * terms * 2 * kGroupColumns + (summed > kMostTerms ? 4 * rows * std::min(round_up(columns, kPanelColumns), kGroupColumns) : 0);
}

bool amx_matmul(const Tensor& c, const Tensor& a, const RightOperand& b, const Tensor& out, float beta, float alpha, const LowRank& low) {
  const bool adds = c.defined() && beta != 0.0f;
  if (!is_bf16(a) || !is_bf16(out) || !amx_takes(a.size(0), a.size(1))) return false;
  if (a.stride(1) != 1 || out.stride(1) != 1) return false;
  if (!is_readable(b)) return false;
  if (adds && (beta != 1.0f || !is_bf16(c) || c.stride(-1) != 1)) return false;
  if (low.h.defined() && !amx_takes_low_rank(a.size(0), a.size(1), low.h.size(1))) return false;
  const int64_t stride = out.stride(0), c_stride = adds && c.dim() == 2 ? c.stride(0) : 0;
  auto* const y = elements<uint16_t>(out);
  const uint16_t* const old = adds ? elements<uint16_t>(c) : nullptr;
  const auto added = [&](int64_t row, int64_t column) {
    return ConstRows{old == nullptr ? nullptr : old + row * c_stride + column, c_stride};
  };
  const std::optional<Columns> factor = low.h.defined() ? std::optional<Columns>(low.factor) : std::nullopt;
  Product(a, b).run([&](const PanelProduct& product, int64_t row, int64_t column) {
    alignas(64) uint16_t panel[kMostLowRank * kPanelColumns];
    LowRankProduct part{};
    if (factor) {
      const ConstRows h = rows_of(low.h);
      part = {{h.data + row * h.stride, h.stride}, panel, low.h.size(1), low.scale};
      Packer(*factor, factor->count(), nullptr).pack(column, product.columns, 0, part.rank, kLowRankStep, panel);
    }
    store_panel_product_cpu(product, alpha, part, added(row, column), y + row * stride + column, stride);
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
