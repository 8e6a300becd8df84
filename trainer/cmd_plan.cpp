// nibble plan CONFIG: what a run needs, from the configuration and file headers only, and how to make it fit.
#include <CLI/CLI.hpp>

#include <iostream>

#include "schema/load.h"
#include "trainer/command.h"
#include "trainer/config_plan.h"

namespace nibble::trainer {

Command make_plan_command() {
  return {"plan", "Memory by component, before anything is allocated", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            struct Options {
              std::string config;
              double gpu_memory = 0;
            };
            const auto o = std::make_shared<Options>();
            app.add_option("CONFIG", o->config, "YAML file")->required();
            app.add_option("--gpu-memory", o->gpu_memory, "Plan for a GPU of so many GiB, whether there is one or not")->check(CLI::Range(1.0, 4096.0));
            return [o, &common] {
              const schema::LoadedConfig loaded = schema::load_run_config(o->config, common.set, schema::Needs::kModel);
              const PlanReport report = plan_config(loaded.config, o->gpu_memory);
              std::cout << (common.json ? plan_json(report) + "\n" : plan_text(report));
              return 0;
            };
          }};
}

}  // namespace nibble::trainer
