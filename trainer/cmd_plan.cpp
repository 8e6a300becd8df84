// nibble plan CONFIG: what a run needs, from the configuration and file headers only.
#include <CLI/CLI.hpp>

#include <iostream>

#include "io/weight_source.h"
#include "schema/load.h"
#include "trainer/command.h"
#include "trainer/from_config.h"
#include "trainer/plan_report.h"
#include "trainer/token_batch.h"

namespace nibble::trainer {

Command make_plan_command() {
  return {"plan", "Memory by component, before anything is allocated", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto file = std::make_shared<std::string>();
            app.add_option("CONFIG", *file, "YAML file")->required();
            return [file, &common] {
              const schema::LoadedConfig loaded = schema::load_run_config(*file, common.set, schema::Needs::kModel);
              const schema::RunConfig& config = loaded.config;
              const auto source = io::open_weight_source(config.model_name_or_path);
              // Without reading the data: every row as long as rows may be.
              PlanInput input = plan_input(config, source->config(), largest_pass(config.per_device_train_batch_size * config.max_length, config.max_length, kCpuPassTokens,
                                                                                        kCpuPassMultiple));
              const int64_t limit = memory_limit_bytes();
              if (config.recompute == Recompute::kAuto) input.recompute = choose_recompute(input, limit / 10 * 8);
              const MemoryPlan plan = plan_memory(input);
              std::cout << (common.json ? plan_json(plan, input, limit) + "\n" : plan_text(plan, input, limit));
              return 0;
            };
          }};
}

}  // namespace nibble::trainer
