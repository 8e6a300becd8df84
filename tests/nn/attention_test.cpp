// Attention against compositions of LibTorch in fp64, and its promises: gradients, isolated documents, strides, threads.
// Units, through nn/attention: nn/attention_decode_cpu nn/attention_decode_avx512_cpu nn/attention_avx512_forward_cpu
// nn/attention_avx512_backward_cpu nn/attention_amx_forward_cpu nn/attention_amx_backward_cpu
#include "nn/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "nn/attention_avx512.h"
#include "nn/attention_composed.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

struct Inputs {
  Tensor q, k, v, dout;
};

struct Outputs {
  Tensor out, lse, dq, dk, dv;
};

// LibTorch's thread count while it lives. Sweeps over small problems run on one.
class ThreadScope {
 public:
  explicit ThreadScope(int threads) : before_(at::get_num_threads()) { at::set_num_threads(threads); }
  ThreadScope(const ThreadScope&) = delete;
  ~ThreadScope() { at::set_num_threads(before_); }

 private:
  int before_;
};

AttentionShape shape_of(int64_t hq, int64_t hkv, int64_t d, int64_t window = 0) {
  return {hq, hkv, d, static_cast<float>(1.0 / std::sqrt(static_cast<double>(d))), window};
}

Inputs random_inputs(int64_t tokens, const AttentionShape& s, at::ScalarType dtype, uint64_t seed = 1) {
  const auto heads = [&](int64_t count, uint64_t part, double scale) {
    return test::random_tensor({tokens, count, s.D}, 10 * seed + part, scale).to(dtype);
  };
  return {heads(s.Hq, 1, 1.5), heads(s.Hkv, 2, 1.5), heads(s.Hkv, 3, 1.0), heads(s.Hq, 4, 1.0)};
}

// The kernels to run; without a value attention chooses.
using Kernels = std::optional<TileSet>;

const char* name_of(const Kernels& kernels) { return !kernels ? "chosen" : *kernels == TileSet::kAmx ? "AMX" : "AVX512"; }

// All kernels that this machine has for bf16 of the shape.
std::vector<Kernels> kernels_of(const AttentionShape& s) {
  if (!attention_avx512_fits(s)) return {Kernels{}};
  if (!attention_amx_fits(s)) return {TileSet::kAvx512};
  return {TileSet::kAvx512, TileSet::kAmx};
}

struct Variant {
  at::ScalarType dtype;
  Kernels kernels;
};

// bf16 on every kernel, and fp32.
std::vector<Variant> variants_of(const AttentionShape& s) {
  std::vector<Variant> variants{{at::kFloat, {}}};
  for (const Kernels& kernels : kernels_of(s)) variants.push_back({at::kBFloat16, kernels});
  return variants;
}

std::string name_of(const Variant& v) { return std::string(c10::toString(v.dtype)) + ", " + name_of(v.kernels); }

void run_into(const Outputs& o, const Inputs& in, const std::vector<int32_t>& starts, const AttentionShape& s, const Kernels& kernels) {
  if (kernels) {
    attention_forward_avx512(in.q, in.k, in.v, starts, s, o.out, o.lse, *kernels);
    attention_backward_avx512(in.dout, in.q, in.k, in.v, o.out, o.lse, starts, s, o.dq, o.dk, o.dv, *kernels);
  } else {
    attention_forward(in.q, in.k, in.v, starts, s, o.out, o.lse);
    attention_backward(in.dout, in.q, in.k, in.v, o.out, o.lse, starts, s, o.dq, o.dk, o.dv);
  }
}

Outputs run(const Inputs& in, const std::vector<int32_t>& starts, const AttentionShape& s, const Kernels& kernels = {}) {
  Outputs o{at::empty_like(in.q), at::empty({s.Hq, in.q.size(0)}, at::kFloat), at::empty_like(in.q), at::empty_like(in.k),
            at::empty_like(in.v)};
  run_into(o, in, starts, s, kernels);
  return o;
}

// [T, T]: query row sees key column.
Tensor visible(const std::vector<int32_t>& starts, int64_t window) {
  const int64_t tokens = starts.back();
  Tensor mask = at::zeros({tokens, tokens}, at::kBool);
  for (size_t d = 0; d + 1 < starts.size(); ++d) {
    const int64_t first = starts[d], n = starts[d + 1] - first;
    if (n == 0) continue;
    Tensor own = at::ones({n, n}, at::kBool).tril();
    if (window > 0) own = own.triu(1 - window);
    mask.narrow(0, first, n).narrow(1, first, n).copy_(own);
  }
  return mask;
}

// The plain composition, differentiated by autograd.
Outputs compose(const Inputs& in, const std::vector<int32_t>& starts, const AttentionShape& s, at::ScalarType dtype) {
  const auto leaf = [&](const Tensor& t) { return t.detach().to(dtype, false, true).set_requires_grad(true); };
  const Tensor q = leaf(in.q), k = leaf(in.k), v = leaf(in.v);
  const int64_t group = s.Hq / s.Hkv;
  const Tensor by_head = k.repeat_interleave(group, 1).permute({1, 2, 0});
  Tensor scores = at::matmul(q.transpose(0, 1), by_head) * static_cast<double>(s.scale);
  scores = scores.masked_fill(visible(starts, s.window).logical_not(), -INFINITY);
  const Tensor out = at::matmul(at::softmax(scores, -1), v.repeat_interleave(group, 1).transpose(0, 1)).transpose(0, 1);
  out.backward(in.dout.to(dtype));
  return {out.detach(), at::logsumexp(scores.detach(), {-1}), q.grad(), k.grad(), v.grad()};
}

double rms_error(const Tensor& a, const Tensor& exact) {
  return (a.to(at::kDouble) - exact.to(at::kDouble)).pow(2).mean().sqrt().item<double>();
}

double max_error(const Tensor& a, const Tensor& exact) {
  return (a.to(at::kDouble) - exact.to(at::kDouble)).abs().max().item<double>();
}

// Policy (c): at most twice the error of the plain composition in bf16, both against fp64.
void expect_bf16_quality(const Inputs& in, const std::vector<int32_t>& starts, const AttentionShape& s) {
  const Outputs plain = compose(in, starts, s, at::kBFloat16), exact = compose(in, starts, s, at::kDouble);
  for (const Kernels& kernels : kernels_of(s)) {
    const Outputs got = run(in, starts, s, kernels);
    const auto expect = [&](const Tensor& mine, const Tensor& theirs, const Tensor& right, const char* name) {
      // A row that sees one key has an exact composition; half an ulp of the result is then allowed, and for gradients that
      // are zero there the fp32 error of a difference of sums of D products of about 1.
      const double rounding = 0x1p-9 * right.to(at::kDouble).pow(2).mean().sqrt().item<double>() + 0x1p-24 * static_cast<double>(s.D);
      EXPECT_LE(rms_error(mine, right), 2 * rms_error(theirs, right) + rounding)
          << name << " of " << in.q.size(0) << " tokens, width " << s.D << ", window " << s.window << ", " << name_of(kernels);
      EXPECT_TRUE(at::isfinite(mine).all().item<bool>()) << name << ", " << name_of(kernels);
    };
    expect(got.out, plain.out, exact.out, "out");
    expect(got.dq, plain.dq, exact.dq, "dq");
    expect(got.dk, plain.dk, exact.dk, "dk");
    expect(got.dv, plain.dv, exact.dv, "dv");
    EXPECT_LT(max_error(got.lse, exact.lse), 1e-4) << name_of(kernels);  // fp32 sums of exact products
  }
}

void expect_fp32_quality(const Inputs& in, const std::vector<int32_t>& starts, const AttentionShape& s) {
  const Outputs got = run(in, starts, s), exact = compose(in, starts, s, at::kDouble);
  // Policy (b): sums of at most T + D terms of size about 1.
  const double bound = 0x1p-24 * 8 * static_cast<double>(in.q.size(0) + s.D);
  EXPECT_LT(max_error(got.out, exact.out), bound);
  EXPECT_LT(max_error(got.lse, exact.lse), bound);
  for (const auto& [mine, right] : {std::pair{got.dq, exact.dq}, {got.dk, exact.dk}, {got.dv, exact.dv}}) {
    EXPECT_LT(max_error(mine, right), bound * (1.0 + right.abs().max().item<double>()));
  }
}

bool same(const Outputs& a, const Outputs& b) {
  return at::equal(a.out, b.out) && at::equal(a.lse, b.lse) && at::equal(a.dq, b.dq) && at::equal(a.dk, b.dk) && at::equal(a.dv, b.dv);
}

TEST(Attention, Bfloat16MatchesTheCompositionAtEveryLength) {
  const ThreadScope threads(1);
  const AttentionShape s = shape_of(2, 1, 32);
  const Inputs in = random_inputs(130, s, at::kBFloat16);
  for (int64_t tokens = 1; tokens <= 130; ++tokens) {
    const auto last = [&](const Tensor& t) { return t.narrow(0, 130 - tokens, tokens); };
    expect_bf16_quality({last(in.q), last(in.k), last(in.v), last(in.dout)}, {0, static_cast<int32_t>(tokens)}, s);
  }
}

// What machines without AVX512_BF16 run, on shapes that the fast kernels would take.
TEST(AttentionComposed, Bfloat16IsAsGoodAsThePlainComposition) {
  const ThreadScope threads(1);
  for (int64_t window : {0, 40}) {
    const AttentionShape s = shape_of(4, 2, 64, window);
    const std::vector<int32_t> starts{0, 150};
    const Inputs in = random_inputs(150, s, at::kBFloat16);
    const Tensor out = at::empty_like(in.q), lse = at::empty({4, 150}, at::kFloat);
    const Tensor dq = at::empty_like(in.q), dk = at::empty_like(in.k), dv = at::empty_like(in.v);
    attention_forward_composed(in.q, in.k, in.v, s, out, lse);
    attention_backward_composed(in.dout, in.q, in.k, in.v, out, lse, s, dq, dk, dv);
    const Outputs plain = compose(in, starts, s, at::kBFloat16), exact = compose(in, starts, s, at::kDouble);
    EXPECT_LE(rms_error(out, exact.out), 2 * rms_error(plain.out, exact.out));
    EXPECT_LE(rms_error(dq, exact.dq), 2 * rms_error(plain.dq, exact.dq));
    EXPECT_LE(rms_error(dk, exact.dk), 2 * rms_error(plain.dk, exact.dk));
    EXPECT_LE(rms_error(dv, exact.dv), 2 * rms_error(plain.dv, exact.dv));
    EXPECT_LT(max_error(lse, exact.lse), 1e-4);  // policy (b): 150 + 64 terms of size up to 10
  }
}

TEST(Attention, Bfloat16MatchesTheCompositionForEveryHeadWidth) {
  const ThreadScope threads(1);
  for (int64_t width : {16, 48, 64, 80, 96, 112, 128, 144, 192, 256, 20, 272}) {
    const AttentionShape s = shape_of(2, 1, width);
    expect_bf16_quality(random_inputs(197, s, at::kBFloat16), {0, 197}, s);
  }
}

// Blocks of 32 queries and keys, full and not, at the widths that AMX takes.
TEST(Attention, Bfloat16MatchesTheCompositionAroundWholeBlocks) {
  const ThreadScope threads(1);
  for (int64_t width : {32, 64, 96, 128, 256}) {
    for (int32_t tokens : {1, 15, 16, 17, 31, 33, 64, 127, 200, 513}) {
      const AttentionShape s = shape_of(3, 1, width, tokens == 200 ? 50 : 0);
      expect_bf16_quality(random_inputs(tokens, s, at::kBFloat16), {0, tokens}, s);
    }
  }
}

TEST(Attention, Bfloat16MatchesTheCompositionOfManyDocuments) {
  const ThreadScope threads(2);
  std::vector<int32_t> starts{0};
  for (int32_t tokens : {1, 15, 0, 16, 17, 31, 33, 64, 127, 200, 513}) starts.push_back(starts.back() + tokens);
  for (const auto& [hq, window] : {std::pair<int64_t, int64_t>{2, 0}, {6, 70}, {16, 300}}) {
    const AttentionShape s = shape_of(hq, 2, 64, window);
    expect_bf16_quality(random_inputs(starts.back(), s, at::kBFloat16), starts, s);
  }
}

TEST(Attention, GroupsOfQueryHeadsShareKeys) {
  const ThreadScope threads(1);
  for (const auto& [hq, hkv] : {std::pair<int64_t, int64_t>{1, 1}, {9, 3}, {8, 1}, {3, 3}, {7, 1}}) {
    const AttentionShape s = shape_of(hq, hkv, 64);
    expect_bf16_quality(random_inputs(150, s, at::kBFloat16), {0, 70, 150}, s);
    expect_fp32_quality(random_inputs(60, s, at::kFloat), {0, 25, 60}, s);
  }
}

TEST(Attention, WindowHidesOldKeys) {
  const ThreadScope threads(1);
  for (int64_t window : {1, 2, 5, 16, 48, 63, 64, 65, 100, 128, 299, 300, 1000}) {
    for (int64_t width : {16, 32}) {
      const AttentionShape s = shape_of(2, 1, width, window);
      expect_bf16_quality(random_inputs(300, s, at::kBFloat16), {0, 300}, s);
      expect_fp32_quality(random_inputs(140, s, at::kFloat), {0, 140}, s);
    }
  }
}

TEST(Attention, Fp32MatchesTheCompositionAtOddLengths) {
  const ThreadScope threads(1);
  const AttentionShape s = shape_of(4, 2, 24);
  for (int64_t tokens : {1, 2, 3, 7, 31, 127, 128, 129, 130, 257}) {
    expect_fp32_quality(random_inputs(tokens, s, at::kFloat), {0, static_cast<int32_t>(tokens)}, s);
  }
}

// Gradient of sum(out * dout) by central differences in fp64 input.
TEST(Attention, GradientsEqualFiniteDifferences) {
  const ThreadScope threads(1);
  const AttentionShape s = shape_of(2, 1, 4, 3);
  const std::vector<int32_t> starts{0, 2, 7};
  Inputs in = random_inputs(7, s, at::kDouble);
  const Outputs got = run(in, starts, s);
  const auto loss = [&] {
    Tensor out = at::empty_like(in.q), lse = at::empty({s.Hq, 7}, at::kFloat);
    attention_forward(in.q, in.k, in.v, starts, s, out, lse);
    return (out * in.dout).sum().item<double>();
  };
  for (const auto& [x, d] : {std::pair{in.q, got.dq}, {in.k, got.dk}, {in.v, got.dv}}) {
    for (int64_t i = 0; i < x.numel(); ++i) {
      double* value = x.data_ptr<double>() + i;
      const double kept = *value, step = 1e-5;
      *value = kept + step;
      const double above = loss();
      *value = kept - step;
      const double below = loss();
      *value = kept;
      // lse is kept in fp32, so backward's probabilities are exact to 2^-24 or so.
      EXPECT_NEAR(d.data_ptr<double>()[i], (above - below) / (2 * step), 2e-6);
    }
  }
}

TEST(Attention, DocumentsDoNotSeeTheirNeighbours) {
  const AttentionShape s = shape_of(6, 2, 96, 0);
  for (const Variant& variant : variants_of(s)) {
    const std::vector<int32_t> starts{0, 1, 1, 98, 231};
    const Inputs in = random_inputs(231, s, variant.dtype);
    const Outputs all = run(in, starts, s, variant.kernels);
    for (size_t d = 0; d + 1 < starts.size(); ++d) {
      const int64_t first = starts[d], n = starts[d + 1] - first;
      if (n == 0) continue;
      const auto own = [&](const Tensor& t) { return t.narrow(0, first, n); };
      const Outputs one = run({own(in.q), own(in.k), own(in.v), own(in.dout)}, {0, static_cast<int32_t>(n)}, s, variant.kernels);
      const Outputs part{own(all.out), all.lse.narrow(1, first, n), own(all.dq), own(all.dk), own(all.dv)};
      EXPECT_TRUE(same(one, part)) << "document " << d << " of " << name_of(variant);
    }
  }
}

TEST(Attention, DoesNotDependOnTheNumberOfThreads) {
  // 2 documents x 2 key heads: whole groups are tasks with one thread, single heads with more.
  const AttentionShape s = shape_of(6, 2, 64, 200);
  for (const Variant& variant : variants_of(s)) {
    const Inputs in = random_inputs(450, s, variant.dtype);
    const auto with_threads = [&](int threads) {
      const ThreadScope scope(threads);
      return run(in, {0, 130, 450}, s, variant.kernels);
    };
    const Outputs one = with_threads(1);
    for (int threads : {2, 3, 5}) EXPECT_TRUE(same(one, with_threads(threads))) << threads << " threads, " << name_of(variant);
  }
}

TEST(Attention, AcceptsViewsOfAFusedProjection) {
  const AttentionShape s = shape_of(4, 2, 32);
  for (const Variant& variant : variants_of(s)) {
    const Inputs dense = random_inputs(77, s, variant.dtype);
    const Tensor fused = at::full({77, 8 * 32 + 5}, NAN, at::TensorOptions().dtype(variant.dtype));
    const auto view = [&](int64_t first, int64_t heads) { return fused.narrow(1, first * 32, heads * 32).unflatten(1, {heads, 32}); };
    Inputs in{view(0, 4), view(4, 2), view(6, 2), dense.dout};
    in.q.copy_(dense.q);
    in.k.copy_(dense.k);
    in.v.copy_(dense.v);
    const Tensor gradients = at::empty_like(fused);
    const auto gradient = [&](int64_t first, int64_t heads) {
      return gradients.narrow(1, first * 32, heads * 32).unflatten(1, {heads, 32});
    };
    const Outputs o{at::empty_like(dense.q), at::empty({4, 77}, at::kFloat), gradient(0, 4), gradient(4, 2), gradient(6, 2)};
    run_into(o, in, {0, 77}, s, variant.kernels);
    EXPECT_TRUE(same(o, run(dense, {0, 77}, s, variant.kernels))) << name_of(variant);
  }
}

TEST(Attention, SurvivesLargeScores) {
  const AttentionShape s = shape_of(2, 2, 32);
  for (const Variant& variant : variants_of(s)) {
    Inputs in = random_inputs(100, s, variant.dtype);
    in.q.mul_(100);
    in.k.mul_(100);
    const Outputs o = run(in, {0, 100}, s, variant.kernels);
    const Outputs exact = compose(in, {0, 100}, s, at::kDouble);
    EXPECT_TRUE(at::isfinite(o.dq).all().item<bool>() && at::isfinite(o.dk).all().item<bool>());
    EXPECT_LT(max_error(o.out, exact.out), variant.dtype == at::kFloat ? 0.02 : 0.05);  // scores of 1e5 carry 1e-2 in fp32
  }
}

// Widths with vector kernels and without; keys that fill blocks of four and do not.
TEST(AttentionDecode, EqualsTheLastRowOfForward) {
  const ThreadScope threads(1);
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    for (const int64_t D : {40, 64, 96, 128, 256}) {
      for (const auto& [tokens, window] : {std::pair<int64_t, int64_t>{1, 0}, {2, 0}, {67, 0}, {67, 10}, {67, 67}, {300, 128}}) {
        const AttentionShape s = shape_of(6, 2, D, window);
        const Inputs in = random_inputs(tokens, s, dtype);
        const Tensor exact = compose(in, {0, static_cast<int32_t>(tokens)}, s, at::kDouble).out.narrow(0, tokens - 1, 1);
        Tensor out = at::empty({1, 6, D}, in.q.options());
        attention_decode(in.q.narrow(0, tokens - 1, 1), in.k, in.v, s, out);
        // Policy (c) for bf16: the result's own rounding; (b) for fp32.
        EXPECT_LT(max_error(out, exact), dtype == at::kFloat ? 1e-5 : 0x1p-8 * (1 + exact.abs().max().item<double>())) << D << ", " << tokens;
      }
    }
  }
}

// What a machine chooses: AMX where it works, the width allows it, and AVX512_BF16 helps it.
TEST(Attention, ChoosesTheFastestTiles) {
  EXPECT_FALSE(attention_avx512_fits(shape_of(2, 1, 20)));
  EXPECT_FALSE(attention_avx512_fits(shape_of(2, 1, 272)));
  EXPECT_FALSE(attention_avx512_fits({2, 1, 64, -1.0f, 0}));  // nobody scales so, but maxima would be minima
  EXPECT_FALSE(attention_amx_fits(shape_of(2, 1, 48)));
  EXPECT_EQ(best_tile_set(shape_of(2, 1, 48)), TileSet::kAvx512);
  const AttentionShape s = shape_of(2, 1, 64);
  const Inputs in = random_inputs(90, s, at::kBFloat16);
  EXPECT_TRUE(same(run(in, {0, 90}, s), run(in, {0, 90}, s, kernels_of(s).back())));
}

TEST(Attention, RefusesWhatItCannotRead) {
  const AttentionShape s = shape_of(2, 1, 16);
  const Inputs in = random_inputs(8, s, at::kFloat);
  const Tensor out = at::empty_like(in.q), lse = at::empty({2, 8}, at::kFloat);
  const auto forward = [&](const Tensor& q, std::vector<int32_t> starts, const AttentionShape& shape) {
    attention_forward(q, in.k, in.v, starts, shape, out, lse);
  };
  EXPECT_NO_THROW(forward(in.q, {0, 8}, s));
  EXPECT_THROW(forward(in.q, {0, 7}, s), std::logic_error);
  EXPECT_THROW(forward(in.q, {0, 9, 8}, s), std::logic_error);
  EXPECT_THROW(forward(in.q, {}, s), std::logic_error);
  EXPECT_THROW(forward(in.q.to(at::kBFloat16), {0, 8}, s), std::logic_error);
  EXPECT_THROW(forward(in.q.narrow(2, 0, 8), {0, 8}, s), std::logic_error);
  EXPECT_THROW(forward(in.q, {0, 8}, shape_of(2, 0, 16)), std::logic_error);
  EXPECT_THROW(forward(in.q, {0, 8}, shape_of(2, 1, 16, -1)), std::logic_error);
  EXPECT_THROW(forward(in.q.transpose(0, 2).contiguous().transpose(0, 2), {0, 8}, s), std::logic_error);
  EXPECT_THROW(attention_decode(in.q.narrow(0, 0, 1), in.k.narrow(0, 0, 0), in.v.narrow(0, 0, 0), s, out.narrow(0, 0, 1)),
               std::logic_error);
}

}  // namespace
}  // namespace nibble::nn
