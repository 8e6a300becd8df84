// nibble generate SRC: a prompt's continuation.
#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/template.h"
#include "trainer/accounting.h"
#include "trainer/artifact.h"
#include "trainer/command.h"
#include "trainer/generate_text.h"
#include "trainer/placement.h"
#include "trainer/stop_request.h"

namespace nibble::trainer {
namespace {

struct Options {
  std::string src, prompt;
  bool chat = false, ignore_eos = false;
  GenerateOptions generate;
  int64_t seed = 42;
};

// The prompt as one user turn of the model's own template, up to where the answer begins.
std::string as_chat(const std::string& prompt, const data::Tokenizer& tokenizer, TemplateChoice choice) {
  std::optional<ChatTemplate> chosen;
  if (choice == TemplateChoice::kAlpaca) chosen = ChatTemplate::kAlpaca;
  if (choice == TemplateChoice::kChatml) chosen = ChatTemplate::kChatml;
  const data::Template chat = data::choose_template(chosen, tokenizer);
  data::Conversation conversation{data::alpaca_messages(chat, prompt, "", "")};
  conversation.messages.pop_back();  // its answer, which generation writes
  return data::render(chat, conversation, /*add_generation_prompt=*/true).text;
}

// For the plan of the memory, before there is a tokenizer: text has three to four bytes a token, and a template adds some.
ForwardShape estimated_shape(const Options& options) {
  constexpr int64_t kBytesPerToken = 3, kTemplateTokens = 64;
  const int64_t prompt_tokens = static_cast<int64_t>(options.prompt.size()) / kBytesPerToken + kTemplateTokens;
  return {1, prompt_tokens, prompt_tokens + options.generate.max_new_tokens, /*cut=*/false};
}

int run(Options& options, const CommonOptions& common, RunMemory& memory) {
  if (options.prompt.empty()) options.prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  const Artifact artifact = resolve_artifact(options.src, common.set);
  nn::Place place = choose_place(artifact.config, [](const std::string& text) { std::cerr << text << "\n"; });
  place.account = &memory.account();
  memory.watch(place.queue);
  OpenedModel opened = open_artifact(artifact, place, {estimated_shape(options), &memory});
  const data::Tokenizer& tokenizer = opened.tokenizer;
  if (tokenizer.vocab_size() > opened.model.config.vocab_size) {
    throw FormatError(fmt::format("the tokenizer has {} tokens and the model {}: they do not belong together", tokenizer.vocab_size(),
                                  opened.model.config.vocab_size), opened.source->path().string());
  }
  std::string prompt = options.chat ? as_chat(options.prompt, tokenizer, artifact.config.chat_template_path) : options.prompt;
  const std::vector<int32_t> prompt_ids = tokenizer.encode(prompt, /*add_special_tokens=*/!options.chat);
  GenerateOptions generate = options.generate;
  generate.seed = static_cast<uint64_t>(options.seed);
  generate.place = place;
  generate.vocab = tokenizer.vocab_size();
  if (!options.ignore_eos) {
    generate.stop_ids = opened.model.config.eos_token_ids;
    if (tokenizer.eos_id() >= 0) generate.stop_ids.push_back(tokenizer.eos_id());
  }

  const StopRequest stop;
  // On a terminal the text appears as it is made. Decoding all of it each time keeps characters of several tokens whole.
  std::vector<int32_t> ids;
  size_t shown = 0;
  const bool live = !common.json;
  const Generated out = generate_text(opened.model, prompt_ids, generate, [&](int32_t id) {
    if (stop.requested()) throw Interrupted(fmt::format("{} while generating", stop.name()));
    ids.push_back(id);
    if (!live) return;
    const std::string text = tokenizer.decode(ids, /*skip_special_tokens=*/true);
    // A character that is still incomplete decodes to U+FFFD; wait for the rest of it.
    if (text.size() >= 3 && text.compare(text.size() - 3, 3, "\xEF\xBF\xBD") == 0) return;
    std::cout << text.substr(shown) << std::flush;
    shown = text.size();
  });
  const std::string text = tokenizer.decode(out.ids, /*skip_special_tokens=*/true);
  if (common.json) {
    nlohmann::ordered_json object{{"text", text}, {"ids", out.ids}, {"tokens_per_s", out.tokens_per_s()}, {"prompt_ids", prompt_ids},
                                  {"prompt_s", out.prompt_seconds}};
    std::cout << object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
  } else {
    std::cout << text.substr(std::min(shown, text.size())) << "\n";
  }
  return 0;
}

}  // namespace

Command make_generate_command() {
  return {"generate", "Continue a prompt", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto o = std::make_shared<Options>();
            app.add_option("SRC", o->src, "Model folder, GGUF file, adapter, run or checkpoint")->required();
            app.add_option("--prompt", o->prompt, "The text to continue; without it, standard input is read");
            app.add_flag("--chat", o->chat, "Put the prompt into the model's chat template as a user turn");
            app.add_option("--max-new-tokens", o->generate.max_new_tokens, "At most this many new tokens")->check(CLI::PositiveNumber)->capture_default_str();
            app.add_flag("--ignore-eos", o->ignore_eos, "Do not stop where the model ends its text");
            app.add_option("--temperature", o->generate.temperature, "0: always the likeliest token")->check(CLI::NonNegativeNumber)->capture_default_str();
            app.add_option("--seed", o->seed, "Of the draws at a temperature above 0")->check(CLI::NonNegativeNumber)->capture_default_str();
            return [o, &common] {
              return with_run_memory([&](RunMemory& memory) { return run(*o, common, memory); });
            };
          }};
}

}  // namespace nibble::trainer
