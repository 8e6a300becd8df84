// Text generation: the model with a cache of keys and values, one token after another.
//
// A prompt goes through the layers in one pass of matrix products; on the CPU, what follows it goes through nn/token_step.h, up
// to eight tokens at a time.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "nn/batch_upload.h"
#include "nn/layer.h"
#include "nn/token_step.h"

namespace nibble::nn {

class Decoder {
 public:
  // `capacity`: how many tokens, prompt and answer together, there is room for. REQUIRES model outlives the decoder, and its
  // tensors are at `place`.
  Decoder(const Model& model, int64_t capacity, const Place& place = {});

  // Appends tokens to the text and returns the logits of the token after them, valid until the next call. SHAPES -> [V], fp32, on
  // the CPU. `each` is called before every layer of a prompt and may throw to stop; then the decoder is of no more use.
  // THROWS std::invalid_argument for an id outside the vocabulary, or when the capacity is used up.
  Tensor feed(std::span<const int32_t> ids, const std::function<void()>& each = {});

  // Appends tokens and returns the logits of what would follow each of them, the same bits as from feeding them one by one; valid until
  // the next call. SHAPES -> [ids, V], fp32, on the CPU. REQUIRES feeds_drafts(), 1 to TokenStep::kMaxTokens ids.
  // THROWS as feed.
  Tensor feed_each(std::span<const int32_t> ids);
  bool feeds_drafts() const { return step_ != nullptr; }

  // Takes the last tokens back, as if they had not been fed. REQUIRES 0 <= tokens <= length()
  void take_back(int64_t tokens);

  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }

 private:
  void expect_fits(std::span<const int32_t> ids) const;
  void run(std::span<const int32_t> ids, const std::function<void()>& each);  // a pass of matrix products

  const Model& model_;
  RopeTable rope_;
  Workspace ws_;
  BatchUpload upload_;
  HostEmbedding host_embedding_;
  std::vector<KvCache> caches_;      // [L]
  std::unique_ptr<TokenStep> step_;  // on the CPU
  Tensor logits_;                    // [kMaxTokens or 1, V] fp32, on the CPU
  int64_t capacity_;
  int64_t length_ = 0;
};

// The next token: the largest logit at temperature 0 (of equal ones the first), else a draw from softmax(logits / temperature)
// that is a function of (seed, index). REQUIRES at least one logit.
int32_t choose_token(std::span<const float> logits, double temperature, uint64_t seed, uint64_t index);

}  // namespace nibble::nn
