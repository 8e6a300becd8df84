#include "trainer/text_session.h"

#include <CLI/CLI.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <iostream>

#include "core/error.h"
#include "nn/token_step.h"
#include "trainer/from_config.h"
#include "trainer/placement.h"

namespace nibble::trainer {
namespace {

nn::Place chosen_place(const Artifact& artifact, RunMemory& memory) {
  nn::Place place = choose_place(artifact.config, [](const std::string& text) { std::cerr << text << "\n"; });
  place.account = &memory.account();
  memory.watch(place.queue);
  return place;
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm out{};
  localtime_r(&now, &out);
  return out;
}

// Prints a text as its tokens come. Decoding all of it each time keeps characters of several tokens whole.
class LiveText {
 public:
  explicit LiveText(const data::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void add(int32_t id) {
    ids_.push_back(id);
    const std::string text = tokenizer_.decode(ids_, /*skip_special_tokens=*/true);
    // A character that is still incomplete decodes to U+FFFD; wait for the rest of it.
    if (!text.ends_with("\xEF\xBF\xBD")) show(text);
  }
  void finish() {
    show(tokenizer_.decode(ids_, /*skip_special_tokens=*/true));
    std::cout << std::endl;
  }

 private:
  void show(const std::string& text) {
    std::cout << text.substr(std::min(shown_, text.size())) << std::flush;
    shown_ = std::max(shown_, text.size());
  }

  const data::Tokenizer& tokenizer_;
  std::vector<int32_t> ids_;
  size_t shown_ = 0;
};

}  // namespace

void add_text_options(CLI::App& app, TextOptions& o) {
  app.add_option("SRC", o.src, "Model folder, GGUF file, adapter, run or checkpoint")->required();
  app.add_option("--max-new-tokens", o.generate.max_new_tokens, "At most this many new tokens")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_flag("--ignore-eos", o.ignore_eos, "Do not stop where the model ends its text");
  app.add_option("--temperature", o.generate.temperature, "0: always the likeliest token")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--prompt-lookup-num-tokens", o.generate.prompt_lookup_num_tokens,
                 "Guess up to so many tokens from earlier text and check them together: the same answer, sooner where it repeats; 0: never")
      ->check(CLI::Range(int64_t{0}, nn::TokenStep::kMaxTokens - 1))->capture_default_str();
  app.add_option("--seed", o.seed, "Of the draws at a temperature above 0")->check(CLI::NonNegativeNumber)->capture_default_str();
}

int64_t estimated_tokens(const std::string& text) {
  constexpr int64_t kBytesPerToken = 3, kTemplateTokens = 64;
  return static_cast<int64_t>(text.size()) / kBytesPerToken + kTemplateTokens;
}

TextSession::TextSession(const TextOptions& options, const CommonOptions& common, RunMemory& memory, int64_t prompt_tokens)
    : options_(options), artifact_(resolve_artifact(options.src, common.set)), place_(chosen_place(artifact_, memory)),
      opened_(open_artifact(artifact_, place_,
                            {ForwardShape{1, prompt_tokens, prompt_tokens + options.generate.max_new_tokens, /*cut=*/false}, &memory,
                             [this] { stop_.check("loading the model"); }})) {
  const nn::ModelConfig& model = opened_.model.config;
  if (tokenizer().vocab_size() > model.vocab_size) {
    throw FormatError(fmt::format("the tokenizer has {} tokens and the model {}: they do not belong together", tokenizer().vocab_size(), model.vocab_size),
                      opened_.source->path().string());
  }
  GenerateOptions& generate = options_.generate;
  generate.seed = static_cast<uint64_t>(options_.seed);
  generate.place = place_;
  generate.vocab = tokenizer().vocab_size();
  generate.stopping = [this] { return stop_.requested(); };
  if (options_.ignore_eos) return;
  generate.stop_ids = model.eos_token_ids;
  if (tokenizer().eos_id() >= 0) generate.stop_ids.push_back(tokenizer().eos_id());
}

std::vector<int32_t> TextSession::chat_prompt(const data::Conversation& conversation) {
  if (!chat_) {
    data::TemplateRequest request = template_request(artifact_.config);
    request.answers_needed = false;
    request.now = local_time();
    chat_ = data::choose_template(request, tokenizer());
    for (const std::string& end : chat_->turn_ends) {
      if (const int32_t id = tokenizer().token_id(end); id >= 0 && !options_.ignore_eos) options_.generate.stop_ids.push_back(id);
    }
  }
  // What people type is characters: the name of a special token in it ends no turn.
  const data::Rendering rendering = data::render(*chat_, conversation, /*add_generation_prompt=*/true);
  return tokenizer().encode_with_starts(rendering.text, /*add_special_tokens=*/false, rendering.contents).ids;
}

Generated TextSession::write(const std::vector<int32_t>& prompt, bool live) {
  LiveText shown(tokenizer());
  Generated out = generate_text(opened_.model, prompt, options_.generate, [&](int32_t id) {
    if (live) shown.add(id);
  });
  if (live) shown.finish();
  return out;
}

}  // namespace nibble::trainer
