#include "trainer/training_model.h"

#include <fmt/format.h>

#include "core/error.h"
#include "io/checkpoint.h"
#include "io/optimizer_state.h"
#include "nn/lora.h"
#include "trainer/from_config.h"
#include "trainer/graph_use.h"
#include "trainer/load_base.h"
#include "trainer/placement.h"

namespace nibble::trainer {
namespace {

nn::Model open_base(const RunInputs& inputs, const schema::RunConfig& config, const nn::Place& place, const StopRequest& stop,
                    const std::function<void(const std::string&)>& say) {
  const MemoryStage stage(place.account, "loading the base", MemoryPart::kBase);
  const auto each = [&] { stop.check("loading the base: nothing was trained"); };
  return load_base(*inputs.source, config, {inputs.plan.choices.streamed, inputs.plan.choices.offload_embedding}, place, {say, each});
}

// A checkpoint's adapter, one to start from, or a new one. Returns its configuration as it will be saved.
io::AdapterConfig attach(nn::Model& model, const schema::RunConfig& config, const std::optional<ResumePoint>& resumed,
                         MemoryAccount* account) {
  const MemoryStage stage(account, "attaching the adapter", MemoryPart::kAdapters);
  const std::string from = resumed ? resumed->checkpoint.string() : config.adapter_name_or_path;
  if (from.empty()) {
    nn::attach_lora(model, lora_config(config), static_cast<uint64_t>(config.seed));
    return io::adapter_config_of(lora_config(config), config.model_name_or_path);
  }
  io::Adapter adapter = io::read_adapter(from, model.config);
  io::attach_adapter(model, adapter, config.lora_dropout);
  adapter.config.dropout = config.lora_dropout;
  adapter.config.base_model_name_or_path = config.model_name_or_path;
  return adapter.config;
}

optim::Optimizer make_optimizer(nn::Model& model, schema::RunConfig config, const MemoryChoices& choices, const nn::Place& place,
                                const std::filesystem::path& folder) {
  config.paged_budget_mib = choices.paged_budget_bytes >> 20;
  const MemoryStage stage(place.account, "making the optimizer's state", MemoryPart::kOptimizer);
  return optim::Optimizer(optimizer_config(config), parameters(model), paged_memory(config, place, folder), place.queue);
}

}  // namespace

std::vector<optim::ParamRef> parameters(nn::Model& model) {
  std::vector<optim::ParamRef> params;
  model.each_lora([&](const std::string& path, nn::Lora& lora) {
    const auto layer = static_cast<int64_t>(lora.number) / nn::kProjections;
    params.push_back({path + ".lora_A.weight", lora.a, lora.da, layer});
    params.push_back({path + ".lora_B.weight", lora.b, lora.db, layer});
  });
  return params;
}

TrainingModel::TrainingModel(const RunInputs& inputs, const schema::RunConfig& config, const std::optional<ResumePoint>& resumed,
                             const nn::Place& place, const std::filesystem::path& folder, const StopRequest& stop,
                             const std::function<void(const std::string&)>& say)
    : model(open_base(inputs, config, place, stop, say)),
      adapter(attach(model, config, resumed, place.account)),
      optimizer(make_optimizer(model, config, inputs.plan.choices, place, folder)),
      pass(model, config.max_length, place),
      passes(model, pass, inputs.plan.choices.parallel_passes),
      state_share_(place.account, MemoryPart::kOptimizer, place.side()) {
  const MemoryStage stage(place.account, "reading the optimizer's state");
  if (resumed) io::load_optimizer(optimizer, resumed->checkpoint / io::kOptimizerFile);
  const StepMemory step = planned_step(inputs.plan);
  passes.each([&](nn::Pass& member) {
    member.reserve(step.saved_bytes, step.scratch_bytes());
    member.set_mlp_chunk_tokens(config.mlp_chunk_tokens);
  });
  start_graphs(config, inputs.plan.choices.streamed, pass, say);
  report_memory();
}

void TrainingModel::report_memory() {
  // Plain memory on a CPU is LibTorch's, and counted as it is taken.
  if (const optim::PagedArena* arena = paging()) {
    state_share_.set(arena->counters().resident_bytes);
  } else if (state_share_.side() == MemorySide::kDevice) {
    state_share_.set(optimizer.state_bytes());
  }
}

}  // namespace nibble::trainer
