// nibble ckpt list|verify RUN_DIR: the checkpoints of a run and their state.
#include <CLI/CLI.hpp>

#include <iostream>

#include "trainer/ckpt_report.h"
#include "trainer/command.h"

namespace nibble::trainer {

Command make_ckpt_command() {
  return {"ckpt", "List or verify the checkpoints of a run", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            struct Options {
              std::string what, run;
            };
            const auto o = std::make_shared<Options>();
            app.add_option("WHAT", o->what, "list: presence and sizes; verify: every checksum, exit code 5 if any is not good")
                ->required()
                ->check(CLI::IsMember({"list", "verify"}));
            app.add_option("RUN_DIR", o->run, "A run folder, or one checkpoint")->required();
            return [o, &common] {
              const bool verify = o->what == "verify";
              const auto found = find_checkpoints(o->run, verify ? io::CheckDepth::kChecksums : io::CheckDepth::kSizes);
              std::cout << (common.json ? ckpt_json(found) + "\n" : ckpt_text(found));
              return verify ? static_cast<int>(ckpt_verdict(found)) : 0;
            };
          }};
}

}  // namespace nibble::trainer
