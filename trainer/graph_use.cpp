#include "trainer/graph_use.h"

#include <fmt/format.h>

#include "nn/step_graph.h"

namespace nibble::trainer {

bool uses_graphs(const schema::RunConfig& config, const nn::Place& place) {
  return config.cuda_graphs == AutoSwitch::kTrue && place.queue && place.queue.stream != nullptr;
}

void start_graphs(const schema::RunConfig& config, bool streamed, nn::Pass& pass, const std::function<void(const std::string&)>& say) {
  if (config.cuda_graphs != AutoSwitch::kTrue) return;
  if (!uses_graphs(config, pass.place())) return say("cuda_graphs: true has no effect on a CPU");
  if (streamed) return say("cuda_graphs: true has no effect while the base is streamed: its weights are elsewhere in every pass");
  pass.use_graphs(true);
}

void measure_graphs(const nn::Pass& pass, MetricsRow& row) {
  if (pass.graphs() == nullptr) return;
  const nn::StepGraphs::Counts& counts = pass.graphs()->counts();
  row.cuda_graphs_recorded = counts.recorded;
  row.cuda_graphs_replayed = counts.replayed;
  row.cuda_graphs_plain = counts.plain;
}

std::optional<std::string> GraphWarning::look(const nn::Pass& pass) {
  if (said_ || pass.graphs() == nullptr || pass.graphs()->failure().empty()) return std::nullopt;
  said_ = true;
  return fmt::format("warning: the run goes on without CUDA graphs, with the same numbers: {}", pass.graphs()->failure());
}

}  // namespace nibble::trainer
