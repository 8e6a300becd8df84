// Text generation: the model with a cache of keys and values, one token after another.
#pragma once

#include <span>
#include <vector>

#include "nn/batch_upload.h"
#include "nn/layer.h"

namespace nibble::nn {

class Decoder {
 public:
  // `capacity`: how many tokens, prompt and answer together, there is room for. REQUIRES model outlives the decoder, and its
  // tensors are at `place`.
  Decoder(const Model& model, int64_t capacity, const Place& place = {});

  // Appends tokens to the text and returns the logits of the token after them. SHAPES -> [V], fp32, on the CPU.
  // THROWS std::invalid_argument for an id outside the vocabulary, or when the capacity is used up.
  Tensor feed(std::span<const int32_t> ids);

  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }

 private:
  Tensor run(std::span<const int32_t> ids);

  const Model& model_;
  RopeTable rope_;
  Workspace ws_;
  BatchUpload upload_;
  HostEmbedding host_embedding_;
  std::vector<KvCache> caches_;  // [L]
  int64_t capacity_;
  int64_t length_ = 0;
};

// The next token: the largest logit at temperature 0, else a draw from softmax(logits / temperature) that is a function
// of (seed, index). SHAPES logits [V] fp32.
int32_t choose_token(const Tensor& logits, double temperature, uint64_t seed, uint64_t index);

}  // namespace nibble::nn
