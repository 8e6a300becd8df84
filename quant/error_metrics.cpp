#include "quant/error_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "core/round_up.h"
#include "quant/blockwise.h"

namespace nibble::quant {
namespace {

constexpr int64_t kPiece = 64 * 1024;  // elements summed by one thread, in order; the pieces are then added in order
constexpr int kBins = 256;
using Histogram = std::array<int64_t, kBins>;

struct Sums {
  double error2 = 0.0, w2 = 0.0, r2 = 0.0, wr = 0.0;
  double largest_error = 0.0, w_min = std::numeric_limits<double>::infinity(), w_max = -w_min;
  int64_t not_finite = -1;  // flat index
};

int64_t pieces(int64_t n) { return ceil_div(n, kPiece); }

template <class Work>
void for_each_piece(int64_t n, const Work& work) {
  at::parallel_for(0, pieces(n), 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) work(piece, piece * kPiece, std::min(n, (piece + 1) * kPiece));
  });
}

Sums sum_piece(const double* w, const double* r, int64_t begin, int64_t end) {
  Sums s;
  for (int64_t i = begin; i < end; ++i) {
    const double error = w[i] - r[i];
    if (!std::isfinite(error) && s.not_finite < 0) s.not_finite = i;
    s.error2 += error * error;
    s.w2 += w[i] * w[i];
    s.r2 += r[i] * r[i];
    s.wr += w[i] * r[i];
    s.largest_error = std::max(s.largest_error, std::fabs(error));
    s.w_min = std::min(s.w_min, w[i]);
    s.w_max = std::max(s.w_max, w[i]);
  }
  return s;
}

Sums sum_all(const double* w, const double* r, int64_t n) {
  std::vector<Sums> parts(static_cast<size_t>(pieces(n)));
  for_each_piece(n, [&](int64_t piece, int64_t begin, int64_t end) { parts[piece] = sum_piece(w, r, begin, end); });
  Sums total;
  for (const Sums& part : parts) {
    if (total.not_finite < 0) total.not_finite = part.not_finite;
    total.error2 += part.error2;
    total.w2 += part.w2;
    total.r2 += part.r2;
    total.wr += part.wr;
    total.largest_error = std::max(total.largest_error, part.largest_error);
    total.w_min = std::min(total.w_min, part.w_min);
    total.w_max = std::max(total.w_max, part.w_max);
  }
  return total;
}

// Bin k holds edge[k] <= x < edge[k+1], the last one its upper edge too.
struct Bins {
  double low, high, width;

  double edge(int k) const { return k == kBins ? high : low + k * width; }
  int of(double x) const {
    x = std::clamp(x, low, high);
    int k = std::min(static_cast<int>((x - low) / width), kBins - 1);
    while (k > 0 && x < edge(k)) --k;  // the division rounds: the edges decide
    while (k < kBins - 1 && x >= edge(k + 1)) ++k;
    return k;
  }
};

Histogram histogram(const double* x, int64_t n, const Bins& bins) {
  std::vector<Histogram> parts(static_cast<size_t>(pieces(n)), Histogram{});
  for_each_piece(n, [&](int64_t piece, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++parts[piece][bins.of(x[i])];
  });
  Histogram total{};
  for (const Histogram& part : parts) {
    for (int k = 0; k < kBins; ++k) total[k] += part[k];
  }
  return total;
}

double divergence(const double* w, const double* r, int64_t n, double low, double high) {
  const Bins bins{low, high, (high - low) / kBins};
  if (!(bins.width > 0.0)) return 0.0;  // a constant weight: one bin, and all of both is clipped into it
  const Histogram p = histogram(w, n, bins), q = histogram(r, n, bins);
  const double total = static_cast<double>(n) + kBins;
  double kl = 0.0;
  for (int k = 0; k < kBins; ++k) {
    const double pk = (static_cast<double>(p[k]) + 1.0) / total, qk = (static_cast<double>(q[k]) + 1.0) / total;
    kl += pk * std::log(pk / qk);
  }
  return kl;
}

double cosine(const Sums& s) {
  if (s.w2 == 0.0 || s.r2 == 0.0) return s.w2 == s.r2 ? 1.0 : 0.0;
  return s.wr / std::sqrt(s.w2 * s.r2);
}

// Symmetric integers of `levels` steps each side.
Tensor reconstruct_integer(const Tensor& weight, double levels, int64_t blocksize) {
  check_blocksize(blocksize);
  const Tensor values = weight.to(at::kDouble).contiguous().clone();
  auto* x = values.mutable_data_ptr<double>();
  const int64_t n = values.numel();
  at::parallel_for(0, ceil_div(n, blocksize), kPiece / blocksize, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * blocksize, end = std::min(n, begin + blocksize);
      double absmax = 0.0;
      for (int64_t i = begin; i < end; ++i) absmax = std::max(absmax, std::fabs(x[i]));
      if (absmax == 0.0) continue;
      const double scale = absmax / levels;
      for (int64_t i = begin; i < end; ++i) x[i] = std::clamp(std::nearbyint(x[i] / scale), -levels, levels) * scale;
    }
  });
  return values;
}

}  // namespace

const char* scheme_name(Scheme scheme) {
  switch (scheme) {
    case Scheme::kInt8: return "int8";
    case Scheme::kInt4: return "int4";
    case Scheme::kFp4: return "fp4";
    case Scheme::kNf4: return "nf4";
    case Scheme::kNf4DoubleQuant: return "nf4_dq";
  }
  return "";
}

ErrorMetrics error_metrics(const Tensor& original, const Tensor& reconstruction) {
  if (!original.defined() || !reconstruction.defined() || original.sizes() != reconstruction.sizes() ||
      original.numel() == 0 || !original.is_floating_point() || !reconstruction.is_floating_point()) {
    throw std::invalid_argument("error metrics: the original and its reconstruction must be floating, of one shape, not empty");
  }
  const Tensor w = original.to(at::kDouble).contiguous(), r = reconstruction.to(at::kDouble).contiguous();
  const double *wp = w.const_data_ptr<double>(), *rp = r.const_data_ptr<double>();
  const int64_t n = w.numel();
  const Sums s = sum_all(wp, rp, n);
  if (s.not_finite >= 0) {
    throw std::invalid_argument(fmt::format("error metrics: at flat index {} the original is {} and its reconstruction {}; "
                                            "both must be finite", s.not_finite, wp[s.not_finite], rp[s.not_finite]));
  }
  ErrorMetrics m;
  m.mse = s.error2 / static_cast<double>(n);
  m.max_abs_error = s.largest_error;
  const double infinity = std::numeric_limits<double>::infinity();
  const double peak = std::max(std::fabs(s.w_min), std::fabs(s.w_max));
  m.snr_db = m.mse == 0.0 ? infinity : 10.0 * std::log10(s.w2 / static_cast<double>(n) / m.mse);
  m.psnr_db = m.mse == 0.0 ? infinity : 20.0 * std::log10(peak / std::sqrt(m.mse));
  m.cosine = cosine(s);
  m.kl = divergence(wp, rp, n, s.w_min, s.w_max);
  return m;
}

Tensor reconstruct(const Tensor& weight, Scheme scheme, int64_t blocksize) {
  switch (scheme) {
    case Scheme::kInt8: return reconstruct_integer(weight, 127.0, blocksize);
    case Scheme::kInt4: return reconstruct_integer(weight, 7.0, blocksize);
    case Scheme::kFp4: return dequantize(quantize(weight, {QuantType::kFp4, blocksize, false}), at::kFloat);
    case Scheme::kNf4: return dequantize(quantize(weight, {QuantType::kNf4, blocksize, false}), at::kFloat);
    case Scheme::kNf4DoubleQuant: return dequantize(quantize(weight, {QuantType::kNf4, blocksize, true}), at::kFloat);
  }
  return {};
}

}  // namespace nibble::quant
