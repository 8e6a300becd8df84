// What a run trains: the frozen base with its adapter, the optimizer of the adapter, and the pass that the two meet in.
#pragma once

#include <filesystem>
#include <optional>

#include "io/adapter.h"
#include "nn/model.h"
#include "optim/optimizer.h"
#include "optim/paged_arena.h"
#include "trainer/pass_team.h"
#include "trainer/resume.h"
#include "trainer/run_inputs.h"
#include "trainer/stop_request.h"

namespace nibble::trainer {

// Every factor with its gradient, in the order of the adapters.
std::vector<optim::ParamRef> parameters(nn::Model& model);

// Loaded and ready for the step after `resumed`, or for the first one. Members refer to one another: it stays where it is.
struct TrainingModel {
  // `folder` is for a paged optimizer's file, `say` for lines for people. What is allocated is reported to place.account.
  // THROWS Interrupted where a stop is requested while the base is read; what loading throws.
  TrainingModel(const RunInputs& inputs, const schema::RunConfig& config, const std::optional<ResumePoint>& resumed,
                const nn::Place& place, const std::filesystem::path& folder, const StopRequest& stop,
                const std::function<void(const std::string&)>& say);
  TrainingModel(const TrainingModel&) = delete;

  // Tells the account what the optimizer's state holds now: all of it, or where it is paged what of it is resident.
  void report_memory();

  // The optimizer's memory where it is paged, else null.
  optim::PagedArena* paging() { return dynamic_cast<optim::PagedArena*>(&optimizer.memory()); }

  nn::Model model;
  io::AdapterConfig adapter;  // as it will be saved
  optim::Optimizer optimizer;
  nn::Pass pass;
  PassTeam passes;  // with `pass`

 private:
  MemoryShare state_share_;  // of the optimizer's state, where it is not LibTorch's
};

}  // namespace nibble::trainer
