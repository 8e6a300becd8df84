// Quantizing and decoding by instruction set, against a copy of the same bytes in the same run (the memory's limit).
//
//   bench_quant                            one thread, each instruction set; then the library's calls on all threads
// bytes_per_second: of bf16 or fp32 weight for quantizing, of decoded output for decoding, read plus written for the copy.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "quant/blockwise.h"
#include "quant/blockwise_cpu.h"

namespace nibble::quant {
namespace {

constexpr int64_t kRows = 2048, kColumns = 4096, kElements = kRows * kColumns;
constexpr int64_t kPanelRows = 64;  // 64 x 4096 bf16 = 512 KiB: half of a usual second-level cache

Tensor weight(at::ScalarType dtype) { return at::randn({kRows, kColumns}).to(dtype); }

void bytes(benchmark::State& state, int64_t per_iteration) { state.SetBytesProcessed(state.iterations() * per_iteration); }

bool lacks(benchmark::State& state, Isa isa) {
  if (isa <= best_isa()) return false;
  state.SkipWithError("this CPU does not have it");
  return true;
}

void copy_memory(benchmark::State& state) {
  const Tensor from = weight(at::kBFloat16), to = at::empty_like(from);
  for (auto _ : state) {
    std::memcpy(to.mutable_data_ptr(), from.const_data_ptr(), from.nbytes());
    benchmark::ClobberMemory();
  }
  bytes(state, 2 * static_cast<int64_t>(from.nbytes()));
}
BENCHMARK(copy_memory)->UseRealTime();

void quantize_isa(benchmark::State& state, Isa isa, QuantType type, Element element, at::ScalarType dtype) {
  if (lacks(state, isa)) return;
  const Tensor w = weight(dtype);
  std::vector<uint8_t> codes(kElements / 2);
  std::vector<float> absmax(kElements / 64);
  const QuantizeSpan span{type, element, 64, kElements, w.const_data_ptr(), codes.data(), absmax.data()};
  for (auto _ : state) benchmark::DoNotOptimize(quantize_blocks_cpu(span, 0, kElements / 64, isa));
  bytes(state, static_cast<int64_t>(w.nbytes()));
}
BENCHMARK_CAPTURE(quantize_isa, scalar_nf4_bf16, Isa::kScalar, QuantType::kNf4, Element::kBf16, at::kBFloat16);
BENCHMARK_CAPTURE(quantize_isa, avx2_nf4_bf16, Isa::kAvx2, QuantType::kNf4, Element::kBf16, at::kBFloat16);
BENCHMARK_CAPTURE(quantize_isa, avx512_nf4_bf16, Isa::kAvx512, QuantType::kNf4, Element::kBf16, at::kBFloat16);
BENCHMARK_CAPTURE(quantize_isa, avx512_fp4_bf16, Isa::kAvx512, QuantType::kFp4, Element::kBf16, at::kBFloat16);
BENCHMARK_CAPTURE(quantize_isa, avx512_nf4_fp32, Isa::kAvx512, QuantType::kNf4, Element::kF32, at::kFloat);

// Decodes panel after panel into one buffer that stays in the cache.
template <class Out>
void dequantize_isa(benchmark::State& state, Isa isa, bool double_quant) {
  if (lacks(state, isa)) return;
  const QuantizedWeight q = quantize(weight(at::kBFloat16), {QuantType::kNf4, 64, double_quant});
  DequantizeSpan span;
  span.numel = kElements;
  span.codes = q.codes.const_data_ptr<uint8_t>();
  if (double_quant) {
    span.absmax_codes = q.absmax_codes.const_data_ptr<uint8_t>();
    span.nested_absmax = q.nested_absmax.const_data_ptr<float>();
    span.nested_offset = q.nested_offset;
  } else {
    span.absmax = q.absmax.const_data_ptr<float>();
  }
  constexpr int64_t kPanel = kPanelRows * kColumns;
  std::vector<Out> panel(kPanel);
  for (auto _ : state) {
    for (int64_t i = 0; i < kElements; i += kPanel) dequantize_cpu(span, i, i + kPanel, panel.data(), isa);
    benchmark::ClobberMemory();
  }
  bytes(state, kElements * static_cast<int64_t>(sizeof(Out)));
  state.SetItemsProcessed(state.iterations() * kElements);
}
void dequantize_bf16(benchmark::State& state, Isa isa, bool double_quant) { dequantize_isa<uint16_t>(state, isa, double_quant); }
void dequantize_fp32(benchmark::State& state, Isa isa, bool double_quant) { dequantize_isa<float>(state, isa, double_quant); }
BENCHMARK_CAPTURE(dequantize_bf16, scalar_dq, Isa::kScalar, true);
BENCHMARK_CAPTURE(dequantize_bf16, avx2_dq, Isa::kAvx2, true);
BENCHMARK_CAPTURE(dequantize_bf16, avx512_dq, Isa::kAvx512, true);
BENCHMARK_CAPTURE(dequantize_bf16, avx512, Isa::kAvx512, false);
BENCHMARK_CAPTURE(dequantize_fp32, avx512_dq, Isa::kAvx512, true);

void quantize_all_threads(benchmark::State& state) {
  const Tensor w = weight(at::kBFloat16);
  for (auto _ : state) benchmark::DoNotOptimize(quantize(w, {}));
  bytes(state, static_cast<int64_t>(w.nbytes()));
}
BENCHMARK(quantize_all_threads)->UseRealTime();

void dequantize_panels_all_threads(benchmark::State& state) {
  const QuantizedWeight q = quantize(weight(at::kBFloat16), {});
  const Tensor panel = at::empty({kPanelRows, kColumns}, at::kBFloat16);
  for (auto _ : state) {
    for (int64_t row = 0; row < kRows; row += kPanelRows) dequantize_rows_into(q, row, row + kPanelRows, panel);
  }
  bytes(state, kElements * 2);
  state.SetItemsProcessed(state.iterations() * kElements);
}
BENCHMARK(dequantize_panels_all_threads)->UseRealTime();

void dequantize_whole_all_threads(benchmark::State& state) {
  const QuantizedWeight q = quantize(weight(at::kBFloat16), {});
  const Tensor into = at::empty({kRows, kColumns}, at::kBFloat16);
  for (auto _ : state) dequantize_into(q, into);
  bytes(state, kElements * 2);
  state.SetItemsProcessed(state.iterations() * kElements);
}
BENCHMARK(dequantize_whole_all_threads)->UseRealTime();

}  // namespace
}  // namespace nibble::quant

BENCHMARK_MAIN();
