#include "trainer/plan_search.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <tuple>

namespace nibble::trainer {
namespace {

constexpr int64_t kUsualChunk = 256;
constexpr int64_t kMib = int64_t{1} << 20;

// From fastest to smallest. Offload is slower than layer by the copies that do not hide. On a CPU the outputs of norms are made again
// in the time that keeping them takes, and the first step does not wait for their memory (docs/benchmarks.md).
std::vector<Recompute> levels_of(const PlanInput& in, bool offload) {
  if (in.fixed.recompute) return {*in.fixed.recompute};
  std::vector<Recompute> levels{Recompute::kElementwise, Recompute::kMlp, Recompute::kLayer};
  if (in.device == PlanDevice::kCuda) levels.insert(levels.begin(), Recompute::kNone);
  if (offload) levels.push_back(Recompute::kOffload);
  return levels;
}

std::vector<bool> switch_values(const std::optional<bool>& fixed) {
  if (fixed) return {*fixed};
  return {false, true};
}

std::vector<int64_t> chunks_of(const PlanInput& in) {
  if (in.fixed.loss_chunk_tokens) return {*in.fixed.loss_chunk_tokens};
  return {kUsualChunk, kUsualChunk / 2, kUsualChunk / 4};
}

// Where weights are larger, what a pass beside the first takes differs by hundreds of MiB from run to run (docs/memory.md), and a plan
// could not be kept: only who asks for it has it there.
constexpr int64_t kLargestSharedWeight = 8 * kMib;

// One a core where a step has as many, or one after the other. Weights that come and go are in one pass at a time.
std::vector<int64_t> parallel_passes(const PlanInput& in, bool streamed) {
  if (streamed || in.device == PlanDevice::kCuda) return {1};
  if (in.fixed.parallel_passes) return {*in.fixed.parallel_passes};
  if (in.step_passes > 1 && largest_weight_bytes(in) <= kLargestSharedWeight) return {in.step_passes, 1};
  return {1};
}

std::vector<int64_t> budgets_of(const PlanInput& in) {
  if (!optim::optimizer_kind(in.optimizer.optim).paged) return {0};
  if (in.fixed.paged_budget_bytes) return {*in.fixed.paged_budget_bytes};
  const int64_t state = optimizer_state_bytes(in);
  std::vector<int64_t> budgets{0};
  for (const int64_t part : {2, 4, 8}) {
    // Two windows of a layer's state each at least.
    const int64_t layer = state / std::max<int64_t>(1, in.model.num_hidden_layers);
    const int64_t budget = (std::max(state / part, 3 * layer) + 2 * kMib - 1) / (2 * kMib) * (2 * kMib);
    if (budget < state && budget != budgets.back()) budgets.push_back(budget);
  }
  return budgets;
}

// Where saves are due before the end. Who has the state paged out of a CPU's memory does not want a copy of all of it there.
bool may_copy_checkpoints(const PlanInput& in) {
  return in.saves_midway && (in.device == PlanDevice::kCuda || !optim::optimizer_kind(in.optimizer.optim).paged);
}

// `below` layers at `more`, the others at `less`.
std::vector<nn::RecomputePolicy> mix(int64_t layers, int64_t below, Recompute more, Recompute less) {
  std::vector<nn::RecomputePolicy> recompute = every_layer(layers, less);
  for (int64_t l = 0; l < below; ++l) recompute[static_cast<size_t>(l)].level = more;
  return recompute;
}

class Search {
 public:
  Search(const PlanInput& input, int64_t budget, const HardwareSpeed& speed)
      : input_(input), budget_(budget), speed_(speed), layers_(input.model.num_hidden_layers) {}

  PlannedRun run() {
    // Copies hide behind work only if the machine keeps up with them, and pinned memory is other programs' loss: what is
    // resident comes first.
    const bool offloads = on_device() && !input_.fixed.recompute;
    // To a device, only packed weights are streamed.
    const std::optional<bool> residency = on_device() && !input_.load_in_4bit ? std::optional(false) : input_.fixed.streamed;
    for (const bool streamed : switch_values(residency)) {
      for (const bool offload : switch_values(offloads ? std::nullopt : std::optional(false))) {
        combinations(streamed, offload);
        if (best_.fits) return best_;
      }
    }
    return best_;
  }

 private:
  void combinations(bool streamed, bool offload_inputs) {
    const std::vector<Recompute> levels = levels_of(input_, offload_inputs);
    // On a CPU there is nothing to choose: the table is where the file is.
    const std::optional<bool> embedding = on_device() ? input_.fixed.offload_embedding : input_.fixed.offload_embedding.value_or(false);
    for (const int64_t paged : budgets_of(input_)) {
      for (const bool offload : switch_values(embedding)) {
        for (const int64_t chunk : chunks_of(input_)) {
          PlanInput candidate = input_;
          candidate.choices.streamed = streamed;
          candidate.choices.paged_budget_bytes = paged;
          candidate.choices.offload_embedding = offload;
          candidate.choices.loss_chunk_tokens = chunk;
          for (const int64_t passes : parallel_passes(input_, streamed)) {
            candidate.choices.parallel_passes = passes;
            mixes(candidate, levels);
          }
        }
      }
    }
  }

  bool on_device() const { return input_.device == PlanDevice::kCuda; }

  // Tries the cheapest mix of each pair of levels that fits.
  void mixes(PlanInput& candidate, const std::vector<Recompute>& levels) {
    candidate.choices.recompute = every_layer(layers_, levels.front());
    rest_bytes_ = plan_memory(candidate).total_bytes() - step_bytes_of(candidate);
    for (const Recompute level : levels) {
      candidate.choices.recompute = every_layer(layers_, level);
      if (consider(candidate)) break;  // the following levels are slower
    }
    for (size_t less = 0; less < levels.size(); ++less) {
      for (size_t more = less + 1; more < levels.size(); ++more) fewest(candidate, levels[more], levels[less]);
    }
  }

  void fewest(PlanInput& candidate, Recompute more, Recompute less) {
    const auto with = [&](int64_t below) {
      candidate.choices.recompute = mix(layers_, below, more, less);
      return rest_bytes_ + step_bytes_of(candidate) <= budget_;
    };
    if (!with(layers_)) return;
    int64_t low = 0, high = layers_;  // `high` fits
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (with(middle)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    candidate.choices.recompute = mix(layers_, high, more, less);
    consider(candidate);
  }

  // step_bytes, which depends on the mix, the loss chunk and the passes at a time alone: other choices meet the same mixes again.
  int64_t step_bytes_of(const PlanInput& candidate) {
    const auto& recompute = candidate.choices.recompute;
    const Recompute bottom = recompute.front().level, top = recompute.back().level;
    const auto below = std::count_if(recompute.begin(), recompute.end(), [&](const nn::RecomputePolicy& p) { return p.level == bottom; });
    const auto [at, is_new] = known_.try_emplace({candidate.choices.loss_chunk_tokens, candidate.choices.parallel_passes, bottom, top, below}, 0);
    if (is_new) at->second = step_bytes(candidate);
    return at->second;
  }

  // Whether it fits; keeps it where it is the best so far. Of equals the first stays, which changes less.
  bool consider(const PlanInput& candidate) {
    const int64_t bytes = rest_bytes_ + step_bytes_of(candidate);
    const bool fits = bytes <= budget_;
    const double seconds = micro_batch_seconds(candidate, speed_);
    const bool better = fits ? !best_.fits || seconds < best_.seconds * 0.9999 : !best_.fits && bytes < best_bytes_;
    if (better) {
      best_ = {candidate, fits, seconds};
      best_bytes_ = bytes;
    }
    return fits;
  }

  const PlanInput& input_;
  int64_t budget_;
  const HardwareSpeed& speed_;
  int64_t layers_;
  int64_t rest_bytes_ = 0;   // of the candidate, but for its step
  std::map<std::tuple<int64_t, int64_t, Recompute, Recompute, int64_t>, int64_t> known_;
  PlannedRun best_;
  int64_t best_bytes_ = std::numeric_limits<int64_t>::max();
};

}  // namespace

PlannedRun search_plan(const PlanInput& input, int64_t budget_bytes, const HardwareSpeed& speed) {
  PlanInput without = input;
  without.choices.background_save = input.fixed.background_save.value_or(false);
  PlannedRun run = Search(without, budget_bytes, speed).run();
  if (input.fixed.background_save || !run.fits || !may_copy_checkpoints(input)) return run;
  // The copy makes no step faster, so it takes what is left.
  PlanInput with = run.input;
  with.choices.background_save = true;
  if (plan_memory(with).total_bytes() <= budget_bytes) run.input = with;
  return run;
}

MemoryChoices fastest_choices(const PlanInput& input) {
  MemoryChoices choices = input.choices;
  choices.recompute = every_layer(input.model.num_hidden_layers, levels_of(input, /*offload=*/false).front());
  choices.loss_chunk_tokens = input.fixed.loss_chunk_tokens.value_or(kUsualChunk);
  choices.streamed = input.fixed.streamed.value_or(false);
  choices.offload_embedding = input.fixed.offload_embedding.value_or(false);
  choices.paged_budget_bytes = input.fixed.paged_budget_bytes.value_or(0);
  choices.parallel_passes = parallel_passes(input, choices.streamed).front();
  choices.background_save = input.fixed.background_save.value_or(may_copy_checkpoints(input));
  return choices;
}

}  // namespace nibble::trainer
