// Unit: quant/error_metrics.
#include "quant/error_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tests/support/golden_tensors.h"

namespace nibble::quant {
namespace {

TEST(ErrorMetrics, AreThePeersForAllFiveSchemes) {
  std::ifstream file(std::string(NIBBLE_GOLDEN_DIR) + "/metrics.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  const Tensor weight = test::golden_tensors("metrics_weight.safetensors").at("weight");
  for (Scheme scheme : kSchemes) {
    SCOPED_TRACE(scheme_name(scheme));
    const nlohmann::json& expected = golden.at("results").at(scheme_name(scheme));
    const ErrorMetrics got = error_metrics(weight, reconstruct(weight, scheme, golden.at("blocksize")));
    const auto expect_close = [&](double value, const char* name, double relative) {
      const double wanted = expected.at(name);
      EXPECT_NEAR(value, wanted, relative * std::fabs(wanted)) << name;
    };
    // (b) fp64 sums. With double quantization the offset is an own sum, 1e-6 from theirs at most.
    const double relative = scheme == Scheme::kNf4DoubleQuant ? 1e-6 : 1e-9;
    expect_close(got.mse, "mse", relative);
    expect_close(got.max_abs_error, "max_abs_error", relative);
    expect_close(got.snr_db, "snr_db", relative);
    expect_close(got.psnr_db, "psnr_db", relative);
    expect_close(got.cosine, "cosine", relative);
    expect_close(got.kl, "kl", 1e-3);  // a value at an edge may change bins (golden/README)
  }
}

TEST(ErrorMetrics, OfSmallNumbersByHand) {
  const Tensor w = at::tensor({1.0, -2.0, 2.0, 0.0}, at::kDouble), r = at::tensor({1.0, -2.0, 1.0, 0.0}, at::kDouble);
  const ErrorMetrics m = error_metrics(w, r);
  EXPECT_DOUBLE_EQ(m.mse, 0.25);
  EXPECT_DOUBLE_EQ(m.max_abs_error, 1.0);
  EXPECT_DOUBLE_EQ(m.snr_db, 10.0 * std::log10(9.0));
  EXPECT_DOUBLE_EQ(m.psnr_db, 20.0 * std::log10(4.0));
  EXPECT_DOUBLE_EQ(m.cosine, 7.0 / std::sqrt(54.0));
  // Bins of w: 0, 128, 192, 255; of r: 0, 128, 192 twice. Counts with 1 added: 2, 2, 2, 2 against 2, 2, 3, 1.
  EXPECT_NEAR(m.kl, 2.0 / 260 * std::log(2.0 / 3.0) + 2.0 / 260 * std::log(2.0), 1e-12);
}

TEST(ErrorMetrics, OfEqualWeightsAreExact) {
  for (const Tensor& w : {at::randn({3, 70}), at::zeros({3, 70}), at::full({2, 2}, 5.0)}) {
    const ErrorMetrics m = error_metrics(w, w);
    EXPECT_EQ(m.mse, 0.0);
    EXPECT_EQ(m.snr_db, std::numeric_limits<double>::infinity());
    EXPECT_NEAR(m.cosine, 1.0, 1e-15);
    EXPECT_EQ(m.kl, 0.0);
  }
  EXPECT_EQ(error_metrics(at::zeros({4}), at::ones({4})).cosine, 0.0);
}

TEST(ErrorMetrics, DoNotDependOnTheNumberOfThreads) {
  const Tensor w = at::randn({700, 501}), r = w + 0.01 * at::randn({700, 501});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const ErrorMetrics one = error_metrics(w, r);
  at::set_num_threads(3);
  const ErrorMetrics three = error_metrics(w, r);
  at::set_num_threads(before);
  EXPECT_EQ(one.mse, three.mse);
  EXPECT_EQ(one.cosine, three.cosine);
  EXPECT_EQ(one.kl, three.kl);
}

TEST(ErrorMetrics, RefuseWhatCannotBeCompared) {
  EXPECT_THROW(error_metrics(at::zeros({2}), at::zeros({3})), std::invalid_argument);
  EXPECT_THROW(error_metrics(at::zeros({0}), at::zeros({0})), std::invalid_argument);
  EXPECT_THROW(error_metrics(Tensor(), at::zeros({3})), std::invalid_argument);
  EXPECT_THROW(error_metrics(at::full({2}, std::nanf("")), at::zeros({2})), std::invalid_argument);
  EXPECT_THROW(reconstruct(at::zeros({2, 64}), Scheme::kInt8, 0), ConfigError);
}

// (d) of normal weights, blocks of 64: NF4's mean squared error is near 0.0086 of the variance, FP4's above it.
TEST(Reconstruct, OrdersTheSchemesOnNormalWeights) {
  const Tensor w = at::randn({256, 512});
  const auto mse = [&](Scheme scheme) { return error_metrics(w, reconstruct(w, scheme, 64)).mse; };
  EXPECT_LT(mse(Scheme::kInt8), 1e-4);
  EXPECT_GT(mse(Scheme::kNf4), 0.0080);
  EXPECT_LT(mse(Scheme::kNf4), 0.0095);
  EXPECT_LT(mse(Scheme::kNf4), mse(Scheme::kInt4));
  EXPECT_LT(mse(Scheme::kInt4), mse(Scheme::kFp4));
}

}  // namespace
}  // namespace nibble::quant
