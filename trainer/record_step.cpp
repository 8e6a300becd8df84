#include "trainer/record_step.h"

#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "io/adapter.h"
#include "io/checkpoint.h"
#include "io/optimizer_state.h"
#include "schema/enum_names.h"
#include "schema/print.h"

namespace nibble::trainer {
namespace {

std::vector<TensorRecord> records_of(const std::vector<NamedStats>& all) {
  std::vector<TensorRecord> records;
  for (const NamedStats& one : all) records.push_back({one.name, one.stats.rms(), one.stats.norm(), one.stats.count, one.stats.non_finite});
  return records;
}

// Pre-tokenized rows may have ids that the model knows and the tokenizer does not.
std::string decoded(const data::Tokenizer& tokenizer, std::span<const int32_t> ids) {
  try {
    return tokenizer.decode(ids, /*skip_special_tokens=*/false);
  } catch (const DataError& error) {
    return fmt::format("(not text: {})", error.message());
  }
}

DocumentText text_of(const data::Dataset& data, int64_t document, const data::Tokenizer& tokenizer, bool whole) {
  DocumentText text{data.place(document), data.length(document), 0, {}, {}, {}};
  const auto ids = data.ids(document);
  std::string trained(ids.size(), '0');
  for (size_t t = 1; t < ids.size(); ++t) {
    if (data.is_trained(document, static_cast<int64_t>(t))) trained[t] = '1';
  }
  text.trained_tokens = std::count(trained.begin(), trained.end(), '1');
  if (!whole) return text;
  text.ids.emplace(ids.begin(), ids.end());
  text.trained = std::move(trained);
  text.text = decoded(tokenizer, ids);
  return text;
}

std::string policy_of(const schema::RunConfig& config, StepFault fault) {
  return std::string(fault == StepFault::kSpike ? schema::enum_name(config.loss_spike_policy) : schema::enum_name(config.nan_policy));
}

// The state before the step, as a checkpoint.
void save_state(const RecordParts& parts, const RunState& before, const std::filesystem::path& folder) {
  const TrainingModel& training = parts.training;
  io::save_checkpoint(folder, before.global_step,
                      {run_state_json(before), schema::effective_yaml(parts.loaded),
                       [&](const std::filesystem::path& to) { io::write_adapter(to, io::adapter_tensors(training.model), training.adapter); },
                       [&](const std::filesystem::path& to) { io::save_optimizer(training.optimizer, to / io::kOptimizerFile); }});
}

}  // namespace

BlackBox describe_step(const RecordParts& parts, const StepDiagnosis& diagnosis, const BadStep& step) {
  const data::Dataset& data = parts.inputs.data.train;
  BlackBox box;
  box.nibble = NIBBLE_VERSION;
  box.libtorch = TORCH_VERSION;
  box.device = parts.training.pass.place().queue ? "cuda" : "cpu";
  box.threads = at::get_num_threads();
  box.step = step.before.global_step + 1;
  box.micro_step = step.before.micro_step;
  box.cursor_epoch = step.before.cursor_epoch;
  box.cursor_row = step.before.cursor_row;
  box.seed = step.before.seed;
  box.learning_rate = step.learning_rate;
  box.reason = fault_name(step.fault);
  box.loss = step.report.loss();
  box.loss_bits = bits_text(box.loss);
  box.grad_norm = diagnosis.grad_norm();
  box.grad_norm_bits = bits_text(box.grad_norm);
  box.watch_mean = step.before.loss_watch.mean;
  box.watch_limit = step.spike_limit;
  box.hidden = records_of(diagnosis.hidden);
  box.gradients = records_of(diagnosis.gradients);
  box.adapter = records_of(diagnosis.adapter);
  for (const PassLoss& pass : diagnosis.passes) {
    box.passes.push_back({pass.tokens, pass.trained_tokens, pass.nll / static_cast<double>(pass.trained_tokens)});
  }
  int64_t tokens = 0;
  for (const int64_t document : diagnosis.step.documents) {
    tokens += data.length(document);
    box.documents.push_back(text_of(data, document, parts.inputs.tokenizer, tokens <= kBlackBoxTokens));
  }
  if (diagnosis.first_wrong) {
    box.first_wrong = first_wrong_text(*diagnosis.first_wrong);
    if (const auto document = diagnosis.first_wrong->document) *box.first_wrong += fmt::format(" ({})", box.documents[static_cast<size_t>(*document)].place);
  }
  return box;
}

std::filesystem::path record_step(const RecordParts& parts, const std::filesystem::path& run_folder, const BadStep& bad) {
  TrainingModel& training = parts.training;
  BlackBox box = describe_step(parts, diagnose_step({training.model, training.passes, training.optimizer, parts.batches, parts.stop}, parts.options, bad.before), bad);
  box.policy = policy_of(parts.loaded.config, bad.fault);
  box.done = remedy_name(bad.remedy);
  return write_black_box(run_folder, box, [&](const std::filesystem::path& folder) { save_state(parts, bad.before, folder); });
}

}  // namespace nibble::trainer
