// Recorded launches of layers (cuda_graphs, nn/step_graph.h): whether a run uses them, and what it reports of them.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "nn/model.h"
#include "schema/run_config.h"
#include "trainer/metrics.h"

namespace nibble::trainer {

// Whether the configuration asks for graphs and the place has a stream that records.
bool uses_graphs(const schema::RunConfig& config, const nn::Place& place);

// Has the pass use graphs where uses_graphs says so, and says where a configuration asks for them in vain: on a CPU, and with a
// base that is streamed.
void start_graphs(const schema::RunConfig& config, bool streamed, nn::Pass& pass, const std::function<void(const std::string&)>& say);

// Fills in the row's numbers of graphs, where there are any.
void measure_graphs(const nn::Pass& pass, MetricsRow& row);

// Where recording failed, why, the first time that it is asked; then and otherwise nullopt.
class GraphWarning {
 public:
  std::optional<std::string> look(const nn::Pass& pass);

 private:
  bool said_ = false;
};

}  // namespace nibble::trainer
