// nibble's command line: finds the verb, runs it, and turns whatever went wrong into one message and an exit code.
#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "trainer/command.h"
#include "trainer/diagnostics.h"

#ifndef NIBBLE_VERSION
#define NIBBLE_VERSION "unknown"
#endif

namespace {

// Ends the process as it is. All that was to be written is on disk, and what static destructors would free, the kernel frees in less
// time: LibTorch's registries alone take 0.1 s.
[[noreturn]] void leave(int code) {
  std::cout.flush();
  std::cerr.flush();
  std::fflush(nullptr);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  std::exit(code);  // leaks are reported there
#else
  std::_Exit(code);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  using namespace nibble;
  using namespace nibble::trainer;
#ifdef __GLIBC__
  // One heap for all threads. With one each, every core that has a pass of its own keeps what LibTorch's temporaries leave between
  // them: 300 MiB for a model of 1.1B. Nobody allocates so often as to wait for it.
  mallopt(M_ARENA_MAX, 1);
#endif
  CLI::App app("nibble: QLoRA fine-tuning with one binary and one YAML file", "nibble");
  app.set_version_flag("--version", std::string("nibble ") + NIBBLE_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  CommonOptions common;
  std::function<int()> run;
  std::vector<std::string> names;
  for (const Command& command : all_commands()) {
    names.emplace_back(command.name);
    CLI::App* verb = app.add_subcommand(command.name, command.summary);
    verb->add_option("--set", common.set, "Override a configuration key: key=value; may be repeated")->type_name("KEY=VALUE")->take_all()->expected(1);
    verb->add_flag("--json", common.json, "Print the result as one JSON object on stdout");
    auto runner = command.add(*verb, common);
    verb->final_callback([&run, runner] { run = runner; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) leave(app.exit(e));  // --help, --version
    std::string message = argc > 1 ? std::string(e.what()) : fmt::format("name a verb: {}", fmt::join(names, ", "));
    if (argc > 1 && argv[1][0] != '-') {
      if (const std::string hint = nearest_verb(argv[1], names); !hint.empty()) message = hint;
    }
    leave(report_usage(message, has_json_flag(argc, argv)));
  }
  leave(run_reporting(run, common.json));
}
