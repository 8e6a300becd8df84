// Units: nn/amx_decode_cpu, quant/piece_scales. Weights decoded into panels: every value is the decoded weight's, bit by bit.
#include "nn/amx_decode_cpu.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <utility>

#include "core/amx.h"
#include "nn/amx_product_cpu.h"
#include "quant/blockwise.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

constexpr int64_t kOut = 224, kIn = 320;
constexpr uint16_t kUntouched = 0x7FC1;  // a NaN that no weight decodes to

struct Format {
  QuantType type;
  int64_t blocksize;
  bool double_quant;
};

quant::QuantizedWeight quantized(const Format& format, int64_t in) {
  return quant::quantize(test::random_tensor({kOut, in}, 1), {format.type, format.blocksize, format.double_quant});
}

// Where a panel of so many columns has a value: terms in tiles of 32 by 16 columns, two terms side by side.
int64_t place(int64_t term, int64_t column, int64_t columns) {
  const int64_t tile = term / 32 * (stored_columns(columns) / 16) + column / 16;
  return tile * 512 + term % 32 / 2 * 32 + column % 16 * 2 + term % 2;
}

class AmxDecode : public testing::TestWithParam<Format> {
 protected:
  AmxDecode() : weight_(quantized(GetParam(), kIn)), codes_{quant::span_of(weight_), kIn}, decoded_(quant::dequantize(weight_, at::kBFloat16)) {}

  // No machine with tiles is without these kernels.
  bool has_kernels() const {
    EXPECT_TRUE(has_panel_decoder(codes_) || !amx_bf16_usable());
    return has_panel_decoder(codes_);
  }
  uint16_t value(int64_t row, int64_t column) const { return reinterpret_cast<const uint16_t*>(decoded_.data_ptr())[row * kIn + column]; }
  static Tensor panels(int64_t values) { return at::full({values}, kUntouched, at::kShort); }
  static uint16_t* bits(const Tensor& t) { return reinterpret_cast<uint16_t*>(t.data_ptr()); }

  quant::QuantizedWeight weight_;
  PackedMatrix codes_;
  Tensor decoded_;
};

INSTANTIATE_TEST_SUITE_P(Formats, AmxDecode,
                         testing::Values(Format{QuantType::kNf4, 64, true}, Format{QuantType::kNf4, 64, false}, Format{QuantType::kFp4, 64, true},
                                         Format{QuantType::kNf4, 128, true}, Format{QuantType::kFp4, 1024, false}, Format{QuantType::kNf4, 4096, true}),
                         [](const auto& info) {
                           const Format& f = info.param;
                           return fmt::format("{}_{}{}", f.type == QuantType::kNf4 ? "nf4" : "fp4", f.blocksize, f.double_quant ? "_double" : "");
                         });

TEST_P(AmxDecode, RowsBecomeColumns) {
  if (!has_kernels()) return;
  for (const int64_t columns : {1, 15, 16, 17, 31, 32}) {
    for (const auto& [row, k, terms] : {std::tuple<int64_t, int64_t, int64_t>{0, 0, kIn}, {kOut - columns, 64, kIn - 64}, {37, 128, 64}, {64, 0, 128}}) {
      const int64_t values = stored_columns(columns) * terms;
      const Tensor panel = panels(values + 1);
      decode_panel_from_rows_cpu(codes_, row, columns, k, terms, bits(panel));
      int64_t wrong = 0;
      for (int64_t n = 0; n < columns; ++n) {
        for (int64_t t = 0; t < terms; ++t) wrong += bits(panel)[place(t, n, columns)] != value(row + n, k + t);
      }
      EXPECT_EQ(wrong, 0) << columns << " columns of row " << row << ", " << terms << " terms from " << k;
      EXPECT_EQ(bits(panel)[values], kUntouched);
    }
  }
}

TEST_P(AmxDecode, ColumnsStayColumns) {
  if (!has_kernels()) return;
  for (const auto& [column, end] : {std::pair<int64_t, int64_t>{0, 32}, {0, 128}, {32, 160}, {96, 192}, {192, kIn}, {kIn - 32, kIn}}) {
    for (const auto& [k, terms] : {std::pair<int64_t, int64_t>{0, kOut}, {32, 64}, {kOut - 32, 32}}) {
      const int64_t values = terms * kPanelColumns, stride = values + kPanelColumns, count = (end - column) / kPanelColumns;
      const Tensor panel = panels(stride * count);
      decode_panels_from_columns_cpu(codes_, column, end, k, terms, bits(panel), stride);
      int64_t wrong = 0;
      for (int64_t n = 0; n < end - column; ++n) {
        const uint16_t* own = bits(panel) + n / kPanelColumns * stride;
        for (int64_t t = 0; t < terms; ++t) wrong += own[place(t, n % kPanelColumns, kPanelColumns)] != value(k + t, column + n);
        wrong += own[values + n % kPanelColumns] != kUntouched;
      }
      EXPECT_EQ(wrong, 0) << "columns " << column << " to " << end << ", " << terms << " terms from " << k;
    }
  }
}

TEST(AmxDecodeTakes, WholePiecesOfOneRowAndBlock) {
  const auto takes = [](int64_t blocksize, int64_t in) {
    const quant::QuantizedWeight weight = quantized({QuantType::kNf4, blocksize, true}, in);
    return has_panel_decoder({quant::span_of(weight), in});
  };
  EXPECT_EQ(takes(64, 64), takes(4096, 192));
  EXPECT_FALSE(takes(32, 64)) << "two blocks in a piece";
  EXPECT_FALSE(takes(64, 96)) << "a piece of two rows";
}

TEST(PieceScales, AreTheBlocksScalesOneByOneAndTogether) {
  for (const Format& format : {Format{QuantType::kNf4, 64, true}, Format{QuantType::kNf4, 256, true}, Format{QuantType::kNf4, 128, false}}) {
    const quant::QuantizedWeight weight = quantized(format, 512);
    // Every block has a code for 1 or -1.
    const Tensor absmax = quant::dequantize(weight, at::kFloat).view({-1, format.blocksize}).abs().amax(1);
    const quant::DequantizeSpan span = quant::span_of(weight);
    const quant::PieceScales scale(span);
    const int64_t pieces = kOut * 512 / quant::kPiece;
    for (int64_t first : {int64_t{0}, int64_t{255}, pieces - 700}) {  // a nested block ends among them
      float together[700];
      quant::rebuild_scales(span, first, 700, together);
      for (int64_t i = 0; i < 700; ++i) {
        const float expected = absmax[(first + i) * quant::kPiece / format.blocksize].item<float>();
        ASSERT_EQ(together[i], expected) << i;
        ASSERT_EQ(scale(first + i), expected) << i;
      }
    }
  }
}

}  // namespace
}  // namespace nibble::nn
