// Optimizer steps on the CPU: each name on all threads, and each instruction set on one.
//
//   bench_optim
// items_per_second: parameters. bytes_per_second: gradient, parameter, master and moments, each read or written once a
// direction.
#include <benchmark/benchmark.h>

#include "optim/adamw_cpu.h"
#include "optim/adamw_math.h"
#include "optim/moment8_tables.h"
#include "optim/optimizer.h"
#include "schema/enum_names.h"

namespace nibble::optim {
namespace {

constexpr int64_t kElements = 8 << 20;  // r = 16 on a 1B model; larger than the caches

// A gradient once, parameter and master and moments both ways.
int64_t step_bytes(int64_t state_bytes) { return kElements * (4 + 2) + 2 * state_bytes; }

void step(benchmark::State& state, Optim optim) {
  const Tensor param = at::randn({kElements}).to(at::kBFloat16), grad = at::randn({kElements});
  Optimizer optimizer({{}, optim}, {{"p", param, grad}});
  for (auto _ : state) optimizer.step(1e-4, 1, 1.0);
  state.SetItemsProcessed(state.iterations() * kElements);
  state.SetBytesProcessed(state.iterations() * step_bytes(optimizer.state_bytes()));
}

void update_isa(benchmark::State& state, quant::Isa isa, bool eight_bit) {
  if (isa > quant::best_isa()) {
    state.SkipWithError("this CPU does not have it");
    return;
  }
  const Tensor gradient = at::randn({kElements}), master = at::randn({kElements}), param = master.to(at::kBFloat16);
  const Tensor m = at::zeros({kElements}, eight_bit ? at::kByte : at::kFloat), v = m.clone();
  const Tensor absmax_m = at::zeros({kElements / kMomentBlock}), absmax_v = absmax_m.clone();
  const int64_t moment_bytes = eight_bit ? 1 : 4;
  for (auto _ : state) {
    for (int64_t begin = 0; begin < kElements; begin += kChunkElements) {
      UpdateSpan span{};
      span.gradient = gradient.const_data_ptr<float>() + begin;
      span.parameter = static_cast<uint16_t*>(param.data_ptr()) + begin;
      span.parameter_is_bf16 = true;
      span.master = master.data_ptr<float>() + begin;
      span.m = static_cast<std::byte*>(m.data_ptr()) + begin * moment_bytes;
      span.v = static_cast<std::byte*>(v.data_ptr()) + begin * moment_bytes;
      if (eight_bit) {
        span.absmax_m = absmax_m.data_ptr<float>() + begin / kMomentBlock;
        span.absmax_v = absmax_v.data_ptr<float>() + begin / kMomentBlock;
      }
      span.n = kChunkElements;
      adamw_bnb_cpu(span, AdamWBnb::scalars({}, 1e-4, 10), moment_tables(), isa);
    }
  }
  state.SetItemsProcessed(state.iterations() * kElements);
}

[[maybe_unused]] const int kRegistered = [] {
  for (size_t i = 0; i < schema::EnumNames<Optim>::names.size(); ++i) {
    const auto optim = static_cast<Optim>(i);
    if (optimizer_kind(optim).paged && optimizer_kind(optim).eight_bit) continue;  // the numbers of the plain ones
    benchmark::RegisterBenchmark(("step/" + std::string(schema::enum_name(optim))).c_str(), step, optim)->UseRealTime();
  }
  for (const quant::Isa isa : {quant::Isa::kScalar, quant::Isa::kAvx2, quant::Isa::kAvx512}) {
    for (const bool eight_bit : {false, true}) {
      const std::string name = std::string("adamw_bnb/") + (eight_bit ? "8bit/" : "32bit/") + quant::isa_name(isa);
      benchmark::RegisterBenchmark(name.c_str(), update_isa, isa, eight_bit)->UseRealTime();
    }
  }
  return 0;
}();

}  // namespace
}  // namespace nibble::optim

BENCHMARK_MAIN();
