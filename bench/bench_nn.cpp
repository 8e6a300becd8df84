// The decoder's own kernels: attention in GFLOP/s beside a bf16 GEMM of the same process, element-wise operations in GB/s
// beside a copy. FLOPs of attention are the causal count: 2 T^2 Hq D forward, 5 T^2 Hq D backward, for each document.
#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "nn/attention.h"
#include "nn/attention_avx512.h"
#include "nn/rms_norm.h"
#include "nn/rope.h"
#include "nn/swiglu.h"

namespace nibble::nn {
namespace {

Tensor random_bf16(at::IntArrayRef sizes) { return at::randn(sizes, at::kFloat).to(at::kBFloat16); }

void count_flops(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void count_bytes(benchmark::State& state, int64_t bytes) {
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(bytes) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

struct AttentionProblem {
  explicit AttentionProblem(const benchmark::State& state)
      : tokens(state.range(0)), s{state.range(1), state.range(2), state.range(3),
                                  static_cast<float>(1.0 / std::sqrt(static_cast<double>(state.range(3)))), 0},
        q(random_bf16({tokens, s.Hq, s.D})), k(random_bf16({tokens, s.Hkv, s.D})), v(random_bf16({tokens, s.Hkv, s.D})),
        dout(random_bf16({tokens, s.Hq, s.D})), out(at::empty_like(q)), lse(at::empty({s.Hq, tokens}, at::kFloat)),
        starts{0, static_cast<int32_t>(tokens)} {}

  double causal_flops() const { return 2.0 * static_cast<double>(tokens * tokens * s.Hq * s.D); }

  int64_t tokens;
  AttentionShape s;
  Tensor q, k, v, dout, out, lse;
  std::vector<int32_t> starts;
};

void attention_forward_bench(benchmark::State& state) {
  AttentionProblem p(state);
  for (auto _ : state) attention_forward(p.q, p.k, p.v, p.starts, p.s, p.out, p.lse);
  count_flops(state, p.causal_flops());
}

void attention_backward_bench(benchmark::State& state) {
  AttentionProblem p(state);
  attention_forward(p.q, p.k, p.v, p.starts, p.s, p.out, p.lse);
  Tensor dq = at::empty_like(p.q), dk = at::empty_like(p.k), dv = at::empty_like(p.v);
  for (auto _ : state) attention_backward(p.dout, p.q, p.k, p.v, p.out, p.lse, p.starts, p.s, dq, dk, dv);
  count_flops(state, 2.5 * p.causal_flops());
}

// The kernels beside those that attention chooses, on machines that have both.
void attention_forward_avx512_bench(benchmark::State& state) {
  AttentionProblem p(state);
  if (!attention_avx512_fits(p.s)) return state.SkipWithError("no AVX512_BF16");
  for (auto _ : state) attention_forward_avx512(p.q, p.k, p.v, p.starts, p.s, p.out, p.lse, TileSet::kAvx512);
  count_flops(state, p.causal_flops());
}

void attention_backward_avx512_bench(benchmark::State& state) {
  AttentionProblem p(state);
  if (!attention_avx512_fits(p.s)) return state.SkipWithError("no AVX512_BF16");
  attention_forward(p.q, p.k, p.v, p.starts, p.s, p.out, p.lse);
  Tensor dq = at::empty_like(p.q), dk = at::empty_like(p.k), dv = at::empty_like(p.v);
  for (auto _ : state) {
    attention_backward_avx512(p.dout, p.q, p.k, p.v, p.out, p.lse, p.starts, p.s, dq, dk, dv, TileSet::kAvx512);
  }
  count_flops(state, 2.5 * p.causal_flops());
}

void attention_decode_bench(benchmark::State& state) {
  AttentionProblem p(state);
  for (auto _ : state) attention_decode(p.q.narrow(0, 0, 1), p.k, p.v, p.s, p.out.narrow(0, 0, 1));
  count_bytes(state, 2 * 2 * p.k.numel());
}

void attention_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"T", "Hq", "Hkv", "D"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (int64_t tokens : {128, 512, 1024, 2048}) b->Args({tokens, 9, 3, 64});
  for (int64_t tokens : {512, 2048}) b->Args({tokens, 32, 4, 64});
  for (int64_t tokens : {512, 2048}) b->Args({tokens, 8, 2, 128});
}

BENCHMARK(attention_forward_bench)->Apply(attention_shapes);
BENCHMARK(attention_backward_bench)->Apply(attention_shapes);
BENCHMARK(attention_forward_avx512_bench)->Apply(attention_shapes);
BENCHMARK(attention_backward_avx512_bench)->Apply(attention_shapes);
BENCHMARK(attention_decode_bench)->Apply(attention_shapes);

void gemm_bench(benchmark::State& state) {
  const int64_t n = 1024;
  const Tensor a = random_bf16({n, n}), b = random_bf16({n, n});
  Tensor c = at::empty_like(a);
  for (auto _ : state) at::mm_out(c, a, b.t());
  count_flops(state, 2.0 * static_cast<double>(n * n * n));
}
BENCHMARK(gemm_bench)->UseRealTime()->Unit(benchmark::kMillisecond);

// 8192 tokens of a width of 1536: 25 MB a tensor, beyond a core's own caches.
constexpr int64_t kTokens = 8192, kWidth = 1536, kBytes = 2 * kTokens * kWidth;

void copy_bench(benchmark::State& state) {
  const Tensor x = random_bf16({kTokens, kWidth});
  Tensor y = at::empty_like(x);
  for (auto _ : state) y.copy_(x);
  count_bytes(state, 2 * kBytes);
}
BENCHMARK(copy_bench)->UseRealTime()->Unit(benchmark::kMillisecond);

void rms_norm_bench(benchmark::State& state) {
  const Tensor x = random_bf16({kTokens, kWidth}), weight = random_bf16({kWidth}), rstd = at::empty({kTokens}, at::kFloat);
  Tensor y = at::empty_like(x);
  for (auto _ : state) rms_norm(x, weight, 1e-5, y, rstd);
  count_bytes(state, 2 * kBytes);
}
BENCHMARK(rms_norm_bench)->UseRealTime()->Unit(benchmark::kMillisecond);

void rms_norm_backward_bench(benchmark::State& state) {
  const Tensor x = random_bf16({kTokens, kWidth}), weight = random_bf16({kWidth}), rstd = at::empty({kTokens}, at::kFloat);
  const Tensor dy = random_bf16({kTokens, kWidth});
  Tensor y = at::empty_like(x);
  rms_norm(x, weight, 1e-5, y, rstd);
  for (auto _ : state) rms_norm_backward(dy, x, weight, rstd, y, /*accumulate=*/true);
  count_bytes(state, 4 * kBytes);
}
BENCHMARK(rms_norm_backward_bench)->UseRealTime()->Unit(benchmark::kMillisecond);

void swiglu_bench(benchmark::State& state) {
  const Tensor gate = random_bf16({kTokens, kWidth}), up = random_bf16({kTokens, kWidth});
  Tensor out = at::empty_like(gate);
  for (auto _ : state) swiglu(gate, up, out);
  count_bytes(state, 3 * kBytes);
}
BENCHMARK(swiglu_bench)->UseRealTime()->Unit(benchmark::kMillisecond);

void swiglu_backward_bench(benchmark::State& state) {
  const Tensor gate = random_bf16({kTokens, kWidth}), up = random_bf16({kTokens, kWidth}), dout = random_bf16({kTokens, kWidth});
  Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
  for (auto _ : state) swiglu_backward(dout, gate, up, dgate, dup);
  count_bytes(state, 5 * kBytes);
}
BENCHMARK(swiglu_backward_bench)->UseRealTime()->Unit(benchmark::kMillisecond);

void rope_bench(benchmark::State& state) {
  ModelConfig config;
  config.head_dim = 64;
  const RopeTable table = make_rope_table(config, kTokens);
  const Tensor positions = at::arange(kTokens, at::kInt);
  Tensor x = random_bf16({kTokens, kWidth / 64, 64});
  for (auto _ : state) rope_in_place(x, positions, table, /*inverse=*/false);
  count_bytes(state, 2 * kBytes);
}
BENCHMARK(rope_bench)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace nibble::nn

BENCHMARK_MAIN();
