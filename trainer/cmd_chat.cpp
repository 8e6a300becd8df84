// nibble chat SRC: a conversation, line by line from standard input.
#include <CLI/CLI.hpp>

#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "trainer/input_lines.h"
#include "trainer/text_session.h"

namespace nibble::trainer {
namespace {

struct Options {
  TextOptions text;
  std::string system;
  int64_t context_tokens = 2048;
};

// The answer as the next prompt has it: templates write their own space in front of it.
std::string as_content(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \n"), end = text.find_last_not_of(" \n");
  return begin == text.npos ? "" : text.substr(begin, end - begin + 1);
}

int run(const Options& options, const CommonOptions& common, RunMemory& memory) {
  TextSession session(options.text, common, memory, options.context_tokens);
  const bool terminal = isatty(STDIN_FILENO) && !common.json;
  data::Conversation said;
  if (!options.system.empty()) said.messages.push_back({"system", options.system});
  if (terminal) std::cerr << "One line is one message; /exit or the end of input ends the conversation.\n";
  InputLines input(STDIN_FILENO);
  while (true) {
    if (terminal) std::cerr << "> " << std::flush;
    const std::optional<std::string> line = input.next([&] { return session.stop().requested(); });
    if (!line || *line == "/exit") break;
    if (line->empty()) continue;
    said.messages.push_back({"user", *line});
    const Generated out = session.write(session.chat_prompt(said), /*live=*/!common.json);
    said.messages.push_back({"assistant", as_content(session.tokenizer().decode(out.ids, /*skip_special_tokens=*/true))});
  }
  if (common.json) {
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    for (const data::Message& message : said.messages) messages.push_back({{"role", message.role}, {"content", message.content}});
    std::cout << nlohmann::ordered_json{{"messages", messages}}.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
  }
  session.stop().check("talking");
  return 0;
}

}  // namespace

Command make_chat_command() {
  return {"chat", "Talk with a model, line by line", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto o = std::make_shared<Options>();
            add_text_options(app, o->text);
            app.add_option("--system", o->system, "The system message in front");
            app.add_option("--context-tokens", o->context_tokens, "Tokens of conversation that memory is planned for")->check(CLI::PositiveNumber)->capture_default_str();
            return [o, &common] {
              return with_run_memory([&](RunMemory& memory) { return run(*o, common, memory); });
            };
          }};
}

}  // namespace nibble::trainer
