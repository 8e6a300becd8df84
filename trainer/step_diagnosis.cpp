#include "trainer/step_diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nibble::trainer {
namespace {

std::string part_name(int64_t layer, int64_t layers) {
  if (layer < 0) return "embedding";
  return layer == layers ? "norm" : fmt::format("layers.{}", layer);
}

// Which document and token of it row `row` of a pass belongs to.
void locate(const PassBatch& pass, int64_t row, FirstWrong& wrong) {
  const auto after = std::upper_bound(pass.document_starts.begin(), pass.document_starts.end(), row);
  const auto slot = static_cast<size_t>(after - pass.document_starts.begin()) - 1;
  if (slot >= pass.documents.size()) return;  // what fills the pass up
  wrong.document = static_cast<int64_t>(pass.documents[slot]);
  wrong.token = row - pass.document_starts[slot];
}

// Looks at one pass's hidden states.
class HiddenLook {
 public:
  HiddenLook(const nn::Place& place, int64_t layers, StepDiagnosis& diagnosis) : place_(place), diagnosis_(diagnosis) {
    for (int64_t layer = -1; layer <= layers; ++layer) diagnosis_.hidden.push_back({part_name(layer, layers), {}});
  }

  void begin(const PassBatch& pass, int64_t number) {
    pass_ = &pass;
    number_ = number;
  }

  void operator()(int64_t layer, const Tensor& hidden) {
    NamedStats& seen = diagnosis_.hidden[static_cast<size_t>(layer + 1)];
    const TensorStats stats = tensor_stats(hidden, place_);
    seen.stats.add(stats);
    if (stats.non_finite == 0 || diagnosis_.first_wrong) return;
    FirstWrong wrong{"hidden states", seen.name, number_, std::nullopt, std::nullopt};
    locate(*pass_, stats.first_non_finite / hidden.size(-1), wrong);
    diagnosis_.first_wrong = wrong;
  }

 private:
  const nn::Place& place_;
  StepDiagnosis& diagnosis_;
  const PassBatch* pass_ = nullptr;
  int64_t number_ = 0;
};

void look_at_passes(const StepParts& parts, const StepOptions& options, StepDiagnosis& diagnosis) {
  nn::Pass& pass = parts.passes.first();
  HiddenLook look(pass.place(), std::ssize(parts.model.layers), diagnosis);
  nn::PassOptions own = options.pass;
  own.layer_output = [&](int64_t layer, const Tensor& hidden) { look(layer, hidden); };
  parts.passes.collect();
  for (const TeamPass& team_pass : diagnosis.step.passes) {
    look.begin(team_pass.batch, std::ssize(diagnosis.passes) + 1);
    own.dropout = team_pass.dropout;
    pass.forward_loss(team_pass.batch.view(), own);
    const nn::LossSum sum = pass.collect();
    diagnosis.passes.push_back({std::ssize(team_pass.batch.ids), sum.tokens, sum.nll});
    if (!std::isfinite(sum.nll) && !diagnosis.first_wrong) {
      diagnosis.first_wrong = FirstWrong{"loss", "", std::ssize(diagnosis.passes), std::nullopt, std::nullopt};
    }
  }
}

}  // namespace

double StepDiagnosis::loss() const {
  double nll = 0.0;
  int64_t tokens = 0;
  for (const PassLoss& pass : passes) {
    nll += pass.nll;
    tokens += pass.trained_tokens;
  }
  return nll / static_cast<double>(tokens);
}

double StepDiagnosis::grad_norm() const {
  int64_t tokens = 0;
  for (const PassLoss& pass : passes) tokens += pass.trained_tokens;
  double square_sum = 0.0;
  for (const NamedStats& gradient : gradients) {
    if (gradient.stats.non_finite > 0) return std::numeric_limits<double>::quiet_NaN();
    square_sum += gradient.stats.square_sum;
  }
  return std::sqrt(square_sum) / static_cast<double>(tokens);
}

StepDiagnosis diagnose_step(const StepParts& parts, const StepOptions& options, const RunState& before) {
  StepDiagnosis diagnosis;
  const nn::Place& place = parts.passes.first().place();
  data::BatchStream batches = parts.batches;
  batches.seek({before.cursor_epoch, before.cursor_row});
  diagnosis.step = take_step(batches, options, before.micro_step);
  for (const optim::ParamRef& p : parts.optimizer.params()) {
    diagnosis.adapter.push_back({p.name, tensor_stats(p.param, place)});
    diagnosis.gradients.push_back({p.name, tensor_stats(p.grad, place)});
  }
  const auto wrong = [](const NamedStats& named) { return named.stats.non_finite > 0; };
  const auto weight = std::find_if(diagnosis.adapter.begin(), diagnosis.adapter.end(), wrong);
  if (weight != diagnosis.adapter.end()) diagnosis.first_wrong = FirstWrong{"adapter", weight->name, {}, {}, {}};
  look_at_passes(parts, options, diagnosis);
  const auto gradient = std::find_if(diagnosis.gradients.rbegin(), diagnosis.gradients.rend(), wrong);
  if (!diagnosis.first_wrong && gradient != diagnosis.gradients.rend()) {
    diagnosis.first_wrong = FirstWrong{"gradient", gradient->name, {}, {}, {}};
  }
  return diagnosis;
}

std::string first_wrong_text(const FirstWrong& wrong) {
  std::string text = fmt::format("not finite first in the {}", wrong.what);
  if (!wrong.name.empty()) text += fmt::format(" of {}", wrong.name);
  if (wrong.pass) text += fmt::format(", pass {}", *wrong.pass);
  if (wrong.document) text += fmt::format(", document {}, token {}", *wrong.document + 1, *wrong.token + 1);
  return text;
}

}  // namespace nibble::trainer
