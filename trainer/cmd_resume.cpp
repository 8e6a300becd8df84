// nibble resume RUN_DIR: continues a run from its own saved configuration.
#include <CLI/CLI.hpp>

#include "core/error.h"
#include "trainer/command.h"
#include "trainer/train_run.h"

namespace nibble::trainer {

Command make_resume_command() {
  return {"resume", "Continue a run from its newest good checkpoint", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            struct Options {
              std::filesystem::path run;
              std::string from;
              std::vector<std::string> allow_changed;
            };
            const auto o = std::make_shared<Options>();
            app.add_option("RUN_DIR", o->run, "The run's output_dir")->required();
            app.add_option("--from", o->from, "The checkpoint to continue: checkpoint-N; later ones are removed at the next save");
            add_allow_changed(app, o->allow_changed);
            return [o, &common] {
              const std::filesystem::path config = o->run / "config.yaml";
              if (!std::filesystem::exists(config)) {
                throw ConfigError("is not a run folder: it has no config.yaml", {o->run.string()});
              }
              schema::LoadedConfig loaded = schema::load_run_config(config, common.set, schema::Needs::kTraining);
              // The folder may have moved since the run was started.
              loaded.config.output_dir = std::filesystem::absolute(o->run).lexically_normal().string();
              return train_run(loaded, {{true, o->from, AllowedChanges(o->allow_changed)}, /*dry_run=*/false, common.json});
            };
          }};
}

}  // namespace nibble::trainer
