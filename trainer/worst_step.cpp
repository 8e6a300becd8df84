#include "trainer/worst_step.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <vector>

#include "core/round_up.h"
#include "nn/lora.h"

namespace nibble::trainer {
namespace {

// The largest of many values, without keeping the others: there may be millions of rows.
class Largest {
 public:
  explicit Largest(int64_t count) : count_(static_cast<size_t>(count)) {}
  void add(int64_t value) {
    sum_ += value;
    kept_.push(value);
    if (kept_.size() <= count_) return;
    sum_ -= kept_.top();
    kept_.pop();
  }
  int64_t sum() const { return sum_; }

 private:
  size_t count_;
  int64_t sum_ = 0;
  std::priority_queue<int64_t, std::vector<int64_t>, std::greater<>> kept_;  // the least on top
};

}  // namespace

WorstShape worst_shape(const data::Dataset& rows, int64_t rows_per_batch, int64_t pass_tokens, int64_t pass_multiple,
                      int64_t at_a_time) {
  WorstShape shape;
  Largest tokens(rows_per_batch), documents(rows_per_batch), labelled(rows_per_batch);
  int64_t shortest = 0;
  for (int64_t r = 0; r < rows.rows(); ++r) {
    for (const int64_t d : rows.row(r)) {
      const int64_t length = rows.length(d);
      shape.longest = std::max(shape.longest, length);
      shortest = shortest == 0 ? length : std::min(shortest, length);
    }
    tokens.add(rows.row_tokens(r));
    documents.add(static_cast<int64_t>(rows.row(r).size()));
    labelled.add(rows.row_trained(r));
  }
  if (rows.rows() == 0) return shape;
  shape.tokens = largest_pass(tokens.sum(), shape.longest, pass_tokens, pass_multiple, at_a_time);
  // Filling up adds a document of nothing.
  const int64_t fit = std::max<int64_t>(1, pass_tokens / shortest);
  shape.documents = std::min(documents.sum(), fit) + (pass_multiple > 1 ? 1 : 0);
  shape.labelled = std::min(labelled.sum(), shape.tokens);
  return shape;
}

PassBatch worst_pass(const WorstShape& shape, int64_t vocab_size) {
  // As many documents as fit: the first as long as any, the others of equal length, none longer than it.
  const int64_t longest = std::clamp<int64_t>(shape.longest, 1, shape.tokens);
  const int64_t rest = shape.tokens - longest;
  const int64_t others = rest == 0 ? 0 : std::clamp(shape.documents - 1, ceil_div(rest, longest), rest);
  PassBatch pass;
  pass.document_starts.push_back(0);
  const auto add_document = [&](int64_t length) {
    for (int64_t i = 0; i < length; ++i) pass.positions.push_back(static_cast<int32_t>(i));
    pass.document_starts.push_back(static_cast<int32_t>(pass.positions.size()));
  };
  add_document(longest);
  for (int64_t i = 0; i < others; ++i) add_document(rest * (i + 1) / others - rest * i / others);
  int64_t to_label = shape.labelled;
  for (int64_t t = 0; t < shape.tokens; ++t) {
    const auto id = static_cast<int32_t>(t * vocab_size / shape.tokens);
    const bool first = pass.positions[static_cast<size_t>(t)] == 0;  // of a document: never has a loss
    pass.ids.push_back(id);
    pass.labels.push_back(first || to_label == 0 ? data::kIgnoredLabel : id);
    if (pass.labels.back() == id) --to_label;
  }
  return pass;
}

void make_worst_step(nn::Model& model, PassTeam& passes, optim::Optimizer& optimizer, const nn::PassOptions& options,
                     const WorstShape& train, const WorstShape& evaluation, const std::function<void()>& each) {
  const auto poll = [&] {
    if (each) each();
  };
  poll();
  nn::zero_gradients(model);
  passes.collect();
  const nn::DropoutContext any_mask{/*training=*/true, /*seed=*/0, /*micro_step=*/0};
  const std::vector<TeamPass> worst(static_cast<size_t>(passes.members()), {worst_pass(train, model.config.vocab_size), any_mask});
  passes.forward_backward(worst, options);
  poll();
  optimizer.rehearse();
  if (evaluation.tokens > 0) {
    poll();
    nn::PassOptions scoring;
    scoring.loss_chunk_tokens = options.loss_chunk_tokens;
    passes.first().forward_loss(worst_pass(evaluation, model.config.vocab_size).view(), scoring);
  }
  passes.collect();  // on a device, this waits for all of it
  nn::zero_gradients(model);
}

}  // namespace nibble::trainer
