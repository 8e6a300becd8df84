// A model opened to write text: what `generate` and `chat` share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/template.h"
#include "trainer/accounting.h"
#include "trainer/artifact.h"
#include "trainer/command.h"
#include "trainer/generate_text.h"
#include "trainer/stop_request.h"

namespace nibble::trainer {

// The command line's.
struct TextOptions {
  std::string src;
  GenerateOptions generate;
  int64_t seed = 42;
  bool ignore_eos = false;
};

// --max-new-tokens, --temperature, --seed, --ignore-eos and SRC.
void add_text_options(CLI::App& app, TextOptions& options);

class TextSession {
 public:
  // prompt_tokens: of the longest prompt, for the plan of the memory. THROWS what opening a model throws.
  TextSession(const TextOptions& options, const CommonOptions& common, RunMemory& memory, int64_t prompt_tokens);

  const data::Tokenizer& tokenizer() const { return opened_.tokenizer; }
  int64_t positions() const { return opened_.model.config.max_position_embeddings; }

  // The conversation in the model's chat format (or the run's, or --set chat_template_path), up to where the next answer
  // begins. From then on, generation stops at that format's ends of a turn too.
  // THROWS ConfigError where there is no template, DataError where it refuses the conversation.
  std::vector<int32_t> chat_prompt(const data::Conversation& conversation);

  // live: the text is printed as it is made. A signal ends it there.
  Generated write(const std::vector<int32_t>& prompt, bool live);

  const StopRequest& stop() const { return stop_; }

 private:
  StopRequest stop_;
  TextOptions options_;
  Artifact artifact_;
  nn::Place place_;
  OpenedModel opened_;
  std::optional<data::Template> chat_;
};

// A prompt's tokens, as far as its bytes tell: text has three to four bytes a token, and a template adds some.
int64_t estimated_tokens(const std::string& text);

}  // namespace nibble::trainer
