// A prompt's continuation, token by token.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "nn/model.h"

namespace nibble::trainer {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  double temperature = 0.0;          // 0: always the likeliest token
  uint64_t seed = 42;
  std::vector<int64_t> stop_ids;     // ends the text; the stopping token is kept
  int64_t vocab = 0;                 // only ids below are chosen: a model's vocabulary may be padded beyond its tokenizer's. 0: all
  int64_t prompt_lookup_num_tokens = 7;  // guessed at most and checked at a time (trainer/prompt_lookup.h); 0: none. On the CPU only
  nn::Place place = {};              // where the model is
  std::function<bool()> stopping = {};  // polled with every layer of the prompt and every token: true ends the text; may be empty
};

struct Generated {
  std::vector<int32_t> ids;          // new tokens only
  double seconds = 0.0;              // after the prompt was read
  double prompt_seconds = 0.0;
  int64_t drafted = 0, accepted = 0; // tokens that were guessed, and those of them that the model chose
  bool stopped = false;              // by `stopping`: there would be more

  double tokens_per_s() const;
};

// Continues `prompt`. What is written does not depend on what was guessed. `on_token` sees every new token as soon as it is chosen.
// THROWS ConfigError where the prompt is empty or longer than the model's positions allow.
Generated generate_text(const nn::Model& model, std::span<const int32_t> prompt, const GenerateOptions& options,
                        const std::function<void(int32_t)>& on_token = {});

}  // namespace nibble::trainer
