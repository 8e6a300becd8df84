#include "nn/amx_product.h"

#include <algorithm>
#include <optional>

#include "core/amx.h"
#include "core/prefetch.h"
#include "core/round_up.h"
#include "nn/amx_decode_cpu.h"
#include "nn/amx_product_cpu.h"
#include "nn/each_task.h"
#include "nn/kept_memory.h"
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
constexpr int64_t kTailRows = 256;  // of a part of a group, at least, where groups are shared out by rows,
constexpr int64_t kMostTailParts = 4;
constexpr int64_t kLineValues = 32;  // of a cache line
constexpr int64_t kBadStride = 1024;  // rows so many values apart lie in two sets of the first cache; a multiple of it: in one
constexpr int64_t kSpreadColumns = 1024;  // from which spreading the left operand's rows pays
constexpr int64_t kStripValues = 8192;  // of a 4-bit weight, decoded at a time: a third of the first cache

// Whether a tile's 16 lines of rows so far apart lie in the same few sets of the first cache, and enough columns read them that a copy
// costs less than it gains.
bool needs_spreading(int64_t stride, int64_t columns) { return stride % kBadStride == 0 && columns >= kSpreadColumns; }
int64_t spread_stride(int64_t values) { return round_up(values, 2 * kLineValues) + kLineValues; }  // an odd number of lines

ConstRows rows_of(const Tensor& t) { return {elements<uint16_t>(t), t.stride(0)}; }

bool is_bf16(const Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kBFloat16; }

bool is_readable(const RightOperand& b) {
  if (b.packed != nullptr) return b.packed->codes.is_cpu();
  return is_bf16(b.dense) && (b.dense.stride(0) == 1 || b.dense.stride(1) == 1);
}

// For panels and partial sums.
float* thread_scratch(int64_t floats) {
  static thread_local Tensor memory;
  return reinterpret_cast<float*>(kept_bytes(memory, 4 * floats));
}

// A copy of the left operand where its own rows lie badly, else itself. Valid until the thread's next one.
ConstRows spread(const ConstRows& x, int64_t rows, int64_t values, int64_t columns) {
  if (!needs_spreading(x.stride, columns)) return x;
  static thread_local Tensor memory;
  const int64_t stride = spread_stride(values);
  auto* const copy = reinterpret_cast<uint16_t*>(kept_bytes(memory, 2 * rows * stride));
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) std::copy_n(x.data + i * x.stride, values, copy + i * stride);
  });
  return {copy, stride};
}

constexpr int64_t kGroupColumns = kGroupPanels * kPanelColumns;  // of a weight [K, N] that is decoded by rows: two blocks of 64 at a time

// A right operand as plain pointers: rows of its transpose, its own rows, or codes that decode to one of these.
class Columns {
 public:
  Columns(const RightOperand& b) : from_rows_(b.packed != nullptr ? b.transposed : b.dense.stride(0) == 1 && b.dense.stride(1) != 1) {
    if (b.packed != nullptr) {
      codes_ = {quant::span_of(*b.packed), b.packed->in};
      has_decoder_ = has_panel_decoder(codes_);
    } else {
      dense_ = from_rows_ ? rows_of(b.dense.t()) : rows_of(b.dense);
    }
    count_ = b.columns();
  }

  int64_t count() const { return count_; }

 private:
  friend class Packer;
  ConstRows dense(int64_t column, int64_t k) const {
    return {dense_.data + (from_rows_ ? column * dense_.stride + k : k * dense_.stride + column), dense_.stride};
  }

  bool from_rows_;
  ConstRows dense_{};
  PackedMatrix codes_{};  // in 0: dense
  bool has_decoder_ = false;
  int64_t count_;
};

// Packs the terms [k, k + terms) of up to four panels of Columns, those from `column` to `end`. Panels begin
// panel_stride values apart, at least panel_values(terms).
class Packer {
 public:
  Packer(const Columns& columns, int64_t column, int64_t end) : c_(columns), column_(column), end_(end) {}

  void pack(int64_t k, int64_t terms, int64_t step, uint16_t* panels, int64_t panel_stride) const {
    if (c_.has_decoder_ && step == kDecodedStep) return decode_panels(k, terms, panels, panel_stride);
    const int64_t across = c_.from_rows_ ? kPanelColumns : kGroupColumns;
    const int64_t strip = c_.from_rows_ && c_.codes_.in == 0 ? terms : kStripValues / across / step * step;
    for (int64_t s = 0; s < terms; s += strip) pack_strip(k + s, std::min(strip, terms - s), step, s, panels, panel_stride);
  }

 private:
  void decode_panels(int64_t k, int64_t terms, uint16_t* panels, int64_t panel_stride) const {
    if (!c_.from_rows_) return decode_panels_from_columns_cpu(c_.codes_, column_, end_, k, terms, panels, panel_stride);
    for (int64_t column = column_; column < end_; column += kPanelColumns, panels += panel_stride) {
      decode_panel_from_rows_cpu(c_.codes_, column, std::min(kPanelColumns, end_ - column), k, terms, panels);
    }
  }

  // Terms from k on, which are those from `done` on of the panels.
  void pack_strip(int64_t k, int64_t terms, int64_t step, int64_t done, uint16_t* panels, int64_t panel_stride) const {
    const auto pack_panel = c_.from_rows_ ? pack_panel_from_rows_cpu : pack_panel_from_columns_cpu;
    alignas(64) uint16_t decoded[kStripValues];
    const int64_t in = c_.codes_.in;
    const bool in_columns = in > 0 && !c_.from_rows_, in_rows = in > 0 && c_.from_rows_;
    if (in_columns) {
      for (int64_t i = 0; i < terms; ++i) decode((k + i) * in + column_, end_ - column_, 16 * in, decoded + i * kGroupColumns);
    }
    for (int64_t column = column_; column < end_; column += kPanelColumns, panels += panel_stride) {
      const int64_t count = std::min(kPanelColumns, end_ - column);
      if (in_rows) {
        for (int64_t i = 0; i < count; ++i) decode((column + i) * in + k, terms, 2 * terms, decoded + i * terms);
      }
      const ConstRows w = in_rows ? ConstRows{decoded, terms} : in_columns ? ConstRows{decoded + (column - column_), kGroupColumns} : c_.dense(column, k);
      pack_panel(w, count, terms, step, panels + done * stored_columns(count));
    }
  }

  // Elements of a row, and fetches the codes that lie `ahead` elements later: decoding would wait for memory most of its time.
  void decode(int64_t begin, int64_t count, int64_t ahead, uint16_t* out) const {
    static const quant::Isa isa = quant::best_isa();
    prefetch_bytes(c_.codes_.span.codes + (begin + ahead) / 2, count / 2);
    quant::dequantize_cpu(c_.codes_.span, begin, begin + count, out, isa);
  }

  const Columns& c_;
  int64_t column_, end_;
};

// One product, shared out by groups of panels, or by rows where there are too few panels.
class Product {
 public:
  Product(const Tensor& a, const RightOperand& b)
      : rows_(a.size(0)), summed_(a.size(1)), step_(amx_step(summed_)), b_(b), x_(spread(rows_of(a), rows_, summed_, b_.count())),
        panels_(ceil_div(b_.count(), kPanelColumns)), part_(std::min(summed_, kMostTerms / step_ * step_)) {}

  // finish(product, first row, first column) writes what a panel's sums become.
  template <class Finish>
  void run(const Finish& finish) const {
    const int64_t threads = at::get_num_threads();
    if (panels_ >= 2 * threads || rows_ < 2 * 64) {
      const int64_t group = ceil_div(panels_, round_up(std::max(ceil_div(panels_, kGroupPanels), 4 * threads), threads));
      // The last groups are shared by rows, each part packing the panels anew, so that no thread waits for another's whole group.
      const int64_t groups = ceil_div(panels_, group), parts = std::clamp<int64_t>(rows_ / kTailRows, 1, kMostTailParts);
      const int64_t whole = parts > 1 ? std::max<int64_t>(0, groups - threads) : groups, rows = round_up(ceil_div(rows_, parts), kBlockRows);
      each_task(whole + (groups - whole) * parts, [&](int64_t task, int64_t) {
        const int64_t of_tail = task - whole, g = of_tail < 0 ? task : whole + of_tail / parts;
        const int64_t first = of_tail < 0 ? 0 : of_tail % parts * rows, last = of_tail < 0 ? rows_ : std::min(rows_, first + rows);
        if (first < last) sum(g * group, std::min(panels_, (g + 1) * group), first, last, finish);
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
    const int64_t panel_floats = round_up(panel_values(part_) / 2, 16), sums = in_parts ? rows * kPanelColumns : 0;
    float* const scratch = thread_scratch(kGroupPanels * (panel_floats + sums));
    float* const partials = scratch + kGroupPanels * panel_floats;
    auto* const panels = reinterpret_cast<uint16_t*>(scratch);
    const Packer packer(b_, first_panel * kPanelColumns, std::min(last_panel * kPanelColumns, b_.count()));
    const int64_t block = std::max<int64_t>(kBlockRows, kBlockValues / part_ / kBlockRows * kBlockRows);
    for (int64_t k = 0; k < summed_; k += part_) {
      const int64_t terms = std::min(part_, summed_ - k);
      packer.pack(k, terms, step_, panels, 2 * panel_floats);
      for (int64_t row = 0; row < rows; row += block) {
        const ConstRows x{x_.data + (first_row + row) * x_.stride + k, x_.stride};
        for (int64_t p = first_panel; p < last_panel; ++p) {
          float* const partial = in_parts ? partials + (p - first_panel) * sums + row * kPanelColumns : nullptr;
          const PanelProduct product{x, std::min(block, rows - row), terms, step_, panels + (p - first_panel) * 2 * panel_floats, columns_of(p), partial};
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

  int64_t rows_, summed_, step_;
  Columns b_;
  ConstRows x_;
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
  return 2 * terms * kGroupColumns + (summed > kMostTerms ? 4 * rows * std::min(round_up(columns, kPanelColumns), kGroupColumns) : 0);
}

int64_t amx_left_bytes(int64_t rows, int64_t summed, int64_t columns) {
  return needs_spreading(summed, columns) ? 2 * rows * spread_stride(summed) : 0;
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
      Packer(*factor, column, column + product.columns).pack(0, part.rank, kLowRankStep, panel, 0);
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
