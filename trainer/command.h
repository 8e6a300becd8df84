// A verb of the command line: one file cmd_<verb>.cpp each, one line in the table of commands.cpp.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace nibble::trainer {

// What every verb takes.
struct CommonOptions {
  std::vector<std::string> set;  // --set key=value
  bool json = false;             // one JSON object on stdout
};

struct Command {
  const char* name;
  const char* summary;                                     // one line of `nibble --help`
  // Adds the verb's own options to `app` and returns what runs it; the result is the exit code.
  std::function<std::function<int()>(CLI::App& app, const CommonOptions& common)> add;
};

Command make_train_command();
Command make_resume_command();
Command make_export_command();
Command make_eval_command();
Command make_generate_command();
Command make_chat_command();
Command make_plan_command();
Command make_preprocess_command();
Command make_inspect_command();
Command make_tokenize_command();
Command make_ckpt_command();
Command make_verify_resume_command();
Command make_config_command();
Command make_doctor_command();

std::vector<Command> all_commands();  // in the order of --help

}  // namespace nibble::trainer
