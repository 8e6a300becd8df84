#include "tests/faults/workload.h"

#include <algorithm>
#include <stdexcept>

#include "tests/faults/output_workload.h"
#include "tests/faults/train_workload.h"

namespace nibble::faults {
namespace fs = std::filesystem;
namespace {

// Every step saved, and evaluation.
const std::vector<std::string> kShortRun{"max_steps=3", "save_steps=1", "validation_split_ratio=0.2", "eval_strategy=steps", "eval_steps=2"};

std::vector<std::string> with(std::vector<std::string> settings, const std::vector<std::string>& more) {
  settings.insert(settings.end(), more.begin(), more.end());
  return settings;
}

// A run with two checkpoints to export.
fs::path exportable_run(const test::RunWorkshop& shop) {
  if (!fs::exists(shop / "exportable")) {
    const auto trained = shop.train("exportable", {"max_steps=2", "save_steps=1"});
    if (trained.exit_code != 0) throw std::runtime_error("the run to export failed: " + trained.err);
  }
  return shop / "exportable";
}

struct Named {
  const char* name;
  std::unique_ptr<Workload> (*make)(const test::RunWorkshop& shop, std::string name);
};

// Caches in the user's own folder, which a run can do without.
template <bool background>
std::unique_ptr<Workload> plain_run(const test::RunWorkshop& shop, std::string name) {
  return std::make_unique<TrainWorkload>(shop, std::move(name), std::vector<std::string>{"run", "user_cache"},
                                         with(kShortRun, {"save_total_limit=1", "packed_cache=true", background ? "save_in_background=true" : "save_in_background=false"}));
}

// Caches in folders that the user named, a base that is streamed from one, optimizer state paged to a file.
template <bool background>
std::unique_ptr<Workload> paged_run(const test::RunWorkshop& shop, std::string name) {
  return std::make_unique<TrainWorkload>(shop, std::move(name), std::vector<std::string>{"run", "data", "packed"},
                                         with(kShortRun, {"save_total_limit=2", "optim=paged_adamw_32bit", "paged_budget_mib=2", "base_residency=streamed",
                                                          "dataset_prepared_path=@data", "packed_cache_dir=@packed",
                                                          background ? "save_in_background=true" : "save_in_background=false"}));
}

// Nothing kept: prepared data go to a file without a name in output_dir.
std::unique_ptr<Workload> cacheless_run(const test::RunWorkshop& shop, std::string name) {
  return std::make_unique<TrainWorkload>(shop, std::move(name), std::vector<std::string>{"run"},
                                         with(kShortRun, {"save_total_limit=1", "dataset_cache=false", "packed_cache=false", "save_in_background=false"}));
}

template <bool replaces>
std::unique_ptr<Workload> export_of(const test::RunWorkshop& shop, std::string name, std::vector<std::string> options) {
  return std::make_unique<ExportWorkload>(shop, std::move(name), exportable_run(shop), std::move(options), replaces);
}

const Named kWorkloads[] = {
    {"train", plain_run<false>},
    {"train-background", plain_run<true>},
    {"train-paged", paged_run<false>},
    {"train-paged-background", paged_run<true>},
    {"train-cacheless", cacheless_run},
    {"export-adapter", [](const auto& shop, std::string name) { return export_of<false>(shop, std::move(name), {}); }},
    {"export-adapter-again", [](const auto& shop, std::string name) { return export_of<true>(shop, std::move(name), {}); }},
    {"export-merged", [](const auto& shop, std::string name) { return export_of<false>(shop, std::move(name), {"--format", "merged"}); }},
    {"export-merged-again",
     [](const auto& shop, std::string name) { return export_of<true>(shop, std::move(name), {"--format", "merged", "--max-shard-gib", "0.0001"}); }},
    {"preprocess", [](const auto& shop, std::string name) -> std::unique_ptr<Workload> { return std::make_unique<PreprocessWorkload>(shop, std::move(name)); }},
};

}  // namespace

std::vector<std::unique_ptr<Workload>> make_workloads(const test::RunWorkshop& shop, const std::vector<std::string>& names) {
  std::vector<std::unique_ptr<Workload>> workloads;
  for (const std::string& name : names) {
    const auto* named = std::find_if(std::begin(kWorkloads), std::end(kWorkloads), [&](const Named& known) { return known.name == name; });
    if (named == std::end(kWorkloads)) throw std::runtime_error("no such workload: " + name);
    workloads.push_back(named->make(shop, name));
  }
  return workloads;
}

std::vector<std::string> workload_names() {
  std::vector<std::string> names;
  for (const Named& known : kWorkloads) names.emplace_back(known.name);
  return names;
}

}  // namespace nibble::faults
