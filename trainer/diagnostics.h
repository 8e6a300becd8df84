// What a person or a script is told when something goes wrong.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace nibble::trainer {

// Runs the verb and returns its exit code; an exception becomes "PLACE: error: MESSAGE" on stderr, with `json` followed by
// one JSON object as stderr's last line, and the exit code of its class.
int run_reporting(const std::function<int()>& run, bool json);

// A wrong command line: exit code 2.
int report_usage(const std::string& message, bool json);
bool has_json_flag(int argc, char** argv);

// "unknown verb 'trian'; did you mean 'train'?", or "" where `name` is a verb.
std::string nearest_verb(const std::string& name, const std::vector<std::string>& verbs);

}  // namespace nibble::trainer
