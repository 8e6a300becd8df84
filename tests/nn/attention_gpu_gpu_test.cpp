// LibTorch's attention on a GPU against the CPU's: documents of unequal length, grouped heads, a sliding window.
#include "nn/attention_gpu.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "gpu/module.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

class AttentionOnGpu : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    const bool ready = gpu::module_status().devices > 0 && dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr;
    if (ready) return;
    if (std::getenv("NIBBLE_REQUIRE_GPU") != nullptr) FAIL() << "no GPU: " << gpu::module_status().text;
    GTEST_SKIP() << "no GPU; NIBBLE_REQUIRE_GPU=1 makes this a failure";
  }
};
INSTANTIATE_TEST_SUITE_P(Windows, AttentionOnGpu, testing::Values(0, 5));

TEST_P(AttentionOnGpu, EqualsTheCpus) {
  const std::vector<int32_t> starts{0, 9, 10, 40};
  const AttentionShape shape{8, 2, 64, 0.125f, GetParam()};
  const auto random = [](int64_t heads, uint64_t seed) { return test::random_tensor({40, heads, 64}, seed); };
  const Tensor q = random(8, 1), k = random(2, 2), v = random(2, 3), dout = random(8, 4);
  Tensor out = at::empty_like(q), lse = at::empty({8, 40}), dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
  attention_forward(q, k, v, starts, shape, out, lse);
  attention_backward(dout, q, k, v, out, lse, starts, shape, dq, dk, dv);
  for (const auto& [dtype, flash] : {std::pair(at::kBFloat16, true), std::pair(at::kBFloat16, false), std::pair(at::kFloat, false)}) {
    const auto there = [dtype = dtype](const Tensor& t) { return t.to(at::TensorOptions().device(at::kCUDA).dtype(dtype)); };
    const DeviceDocuments documents{at::tensor(starts, at::kInt).to(at::kCUDA), 30, flash};
    const Tensor gq = there(q), gk = there(k), gv = there(v), gdq = at::empty_like(gq), gdk = at::empty_like(gk), gdv = at::empty_like(gv);
    const AttentionOutput got = attention_forward_gpu(gq, gk, gv, documents, shape);
    attention_backward_gpu(there(dout), gq, gk, gv, got.out, got.lse, documents, shape, gdq, gdk, gdv);
    // Policy (c): bf16 has 8 bits, and inputs, probabilities and results are rounded; fp32 kernels may use TF32's 10 bits.
    const double bound = dtype == at::kFloat ? 4e-3 : 3e-2;
    const Tensor* pairs[][2] = {{&got.out, &out}, {&gdq, &dq}, {&gdk, &dk}, {&gdv, &dv}};
    for (const auto& pair : pairs) {
      const Tensor difference = pair[0]->to(at::kCPU, at::kFloat) - *pair[1];
      EXPECT_LE(difference.norm().item<double>(), bound * pair[1]->norm().item<double>());
    }
  }
}

TEST_P(AttentionOnGpu, DecodesAsTheCpuDoes) {
  const AttentionShape shape{8, 2, 64, 0.125f, GetParam()};
  const Tensor q = test::random_tensor({1, 8, 64}, 5), k = test::random_tensor({23, 2, 64}, 6), v = test::random_tensor({23, 2, 64}, 7);
  const Tensor out = at::empty_like(q);
  attention_decode(q, k, v, shape, out);
  for (const auto& [dtype, flash] : {std::pair(at::kBFloat16, true), std::pair(at::kBFloat16, false), std::pair(at::kFloat, false)}) {
    const auto there = [dtype = dtype](const Tensor& t) { return t.to(at::TensorOptions().device(at::kCUDA).dtype(dtype)); };
    const Tensor got = attention_decode_gpu(there(q), there(k), there(v), {Tensor(), 0, flash}, shape);
    const double bound = dtype == at::kFloat ? 4e-3 : 3e-2;  // as above
    EXPECT_LE((got.to(at::kCPU, at::kFloat) - out).norm().item<double>(), bound * out.norm().item<double>());
  }
}

}  // namespace
}  // namespace nibble::nn
