#include "trainer/generate_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "nn/decoder.h"
#include "trainer/prompt_lookup.h"

namespace nibble::trainer {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Stopped {};  // thrown out of the prompt

}  // namespace

double Generated::tokens_per_s() const {
  // The first token comes with the prompt.
  return ids.size() < 2 || seconds <= 0 ? 0.0 : static_cast<double>(ids.size() - 1) / seconds;
}

Generated generate_text(const nn::Model& model, std::span<const int32_t> prompt, const GenerateOptions& options,
                        const std::function<void(int32_t)>& on_token) {
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  const int64_t room = model.config.max_position_embeddings - prompt_tokens;
  if (prompt.empty()) throw ConfigError("the prompt has no tokens; give one with --prompt");
  if (room <= 0) {
    throw ConfigError(fmt::format("the prompt has {} tokens and the model has {} positions; shorten the prompt", prompt_tokens,
                                  model.config.max_position_embeddings));
  }
  const int64_t limit = std::min(options.max_new_tokens, room);
  const int64_t vocab = options.vocab > 0 ? std::min(options.vocab, model.config.vocab_size) : model.config.vocab_size;
  Generated out;
  out.ids.reserve(static_cast<size_t>(limit));
  auto start = Clock::now();
  const MemoryStage stage(options.place.account, "generating", MemoryPart::kCache);
  nn::Decoder decoder(model, prompt_tokens + limit, options.place);
  Tensor logits;
  try {
    logits = decoder.feed(prompt, [&] {
      if (options.stopping && options.stopping()) throw Stopped();
    });
  } catch (const Stopped&) {
    out.stopped = true;
    return out;
  }
  out.prompt_seconds = seconds_since(start);
  start = Clock::now();
  PromptLookup lookup(prompt, decoder.feeds_drafts() ? options.prompt_lookup_num_tokens : 0);
  std::vector<int32_t> fed;  // the last token and a draft of those after it; row i of the logits is of what follows fed[i]
  size_t row = 0;
  for (int64_t i = 0; i < limit; ++i) {
    out.stopped = options.stopping && options.stopping();
    if (out.stopped) break;
    const std::span<const float> choices(logits.const_data_ptr<float>() + static_cast<int64_t>(row) * model.config.vocab_size, static_cast<size_t>(vocab));
    const int32_t id = nn::choose_token(choices, options.temperature, options.seed, static_cast<uint64_t>(i));
    out.ids.push_back(id);
    lookup.append(id);
    if (on_token) on_token(id);
    if (std::count(options.stop_ids.begin(), options.stop_ids.end(), id) > 0) break;
    if (row + 1 < fed.size() && fed[row + 1] == id) {  // as guessed: it is fed
      ++row;
      ++out.accepted;
      continue;
    }
    if (i + 1 == limit) break;
    if (!fed.empty()) {
      const auto drafted = static_cast<int64_t>(fed.size()) - 1, right = static_cast<int64_t>(row);
      decoder.take_back(drafted - right);
      lookup.judge(drafted, right);
    }
    fed = lookup.draft(std::min<int64_t>(nn::TokenStep::kMaxTokens - 1, limit - i - 2));
    out.drafted += static_cast<int64_t>(fed.size());
    fed.insert(fed.begin(), id);
    row = 0;
    logits = fed.size() > 1 ? decoder.feed_each(fed) : decoder.feed(fed);
  }
  out.seconds = seconds_since(start);
  return out;
}

}  // namespace nibble::trainer
