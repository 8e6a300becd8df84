#include "trainer/fidelity.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace nibble::trainer {
namespace {

// log softmax in fp64. SHAPES -> [T, V]
Tensor log_probabilities(nn::Pass& pass, const std::vector<int32_t>& ids) {
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  const std::array<int32_t, 2> document{0, static_cast<int32_t>(ids.size())};
  return at::log_softmax(pass.forward_logits({ids, {}, positions, document}).to(at::kDouble), -1);
}

int64_t longest(const std::vector<std::vector<int32_t>>& windows) {
  size_t n = 1;
  for (const auto& window : windows) n = std::max(n, window.size());
  return static_cast<int64_t>(n);
}

}  // namespace

Fidelity compare_models(nn::Model& trained, nn::Model& exported, const std::vector<std::vector<int32_t>>& windows,
                        const std::function<void()>& each) {
  const auto distribution = [&](nn::Pass& pass, const std::vector<int32_t>& ids) {
    if (each) each();
    return log_probabilities(pass, ids);
  };
  Fidelity f;
  nn::Pass trained_pass(trained, longest(windows)), exported_pass(exported, longest(windows));
  double agreed = 0.0;
  for (const std::vector<int32_t>& ids : windows) {
    const Tensor p = distribution(trained_pass, ids), q = distribution(exported_pass, ids);
    const auto predicted = static_cast<int64_t>(ids.size()) - 1;
    const Tensor kl = (p.exp() * (p - q)).sum(-1);
    f.kl += kl.sum().item<double>();
    f.max_kl = std::max(f.max_kl, kl.max().item<double>());
    agreed += p.argmax(-1).eq(q.argmax(-1)).sum().item<double>();
    const Tensor next = at::tensor(std::vector<int64_t>(ids.begin() + 1, ids.end())).unsqueeze(1);
    f.trained_loss -= p.narrow(0, 0, predicted).gather(1, next).sum().item<double>();
    f.exported_loss -= q.narrow(0, 0, predicted).gather(1, next).sum().item<double>();
    f.tokens += static_cast<int64_t>(ids.size());
  }
  const auto positions = static_cast<double>(f.tokens);
  const double scored = positions - static_cast<double>(windows.size());
  f.kl /= positions;
  f.top1_agreement = agreed / positions;
  f.trained_loss /= scored;
  f.exported_loss /= scored;
  return f;
}

}  // namespace nibble::trainer
