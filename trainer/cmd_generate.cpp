// nibble generate SRC: a prompt's continuation.
#include <CLI/CLI.hpp>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "trainer/text_session.h"

namespace nibble::trainer {
namespace {

struct Options {
  TextOptions text;
  std::string prompt;
  bool chat = false;
};

int run(Options& options, const CommonOptions& common, RunMemory& memory) {
  if (options.prompt.empty()) options.prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  TextSession session(options.text, common, memory, estimated_tokens(options.prompt));
  const std::vector<int32_t> prompt_ids = options.chat ? session.chat_prompt({{{"user", options.prompt}}})
                                                       : session.tokenizer().encode(options.prompt, /*add_special_tokens=*/true);
  const Generated out = session.write(prompt_ids, /*live=*/!common.json);
  if (common.json) {
    nlohmann::ordered_json object{{"text", session.tokenizer().decode(out.ids, /*skip_special_tokens=*/true)}, {"ids", out.ids},
                                  {"tokens_per_s", out.tokens_per_s()}, {"prompt_ids", prompt_ids}, {"prompt_s", out.prompt_seconds},
                                  {"drafted", out.drafted}, {"accepted", out.accepted},
                                  {"interrupted", out.stopped}};
    std::cout << object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
  }
  if (out.stopped) session.stop().check("generating: the text ends early");
  return 0;
}

}  // namespace

Command make_generate_command() {
  return {"generate", "Continue a prompt", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto o = std::make_shared<Options>();
            add_text_options(app, o->text);
            app.add_option("--prompt", o->prompt, "The text to continue; without it, standard input is read");
            app.add_flag("--chat", o->chat, "Put the prompt into the model's chat template as a user turn");
            return [o, &common] {
              return with_run_memory([&](RunMemory& memory) { return run(*o, common, memory); });
            };
          }};
}

}  // namespace nibble::trainer
