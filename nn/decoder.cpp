#include "nn/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "nn/embedding.h"
#include "nn/head.h"
#include "nn/rms_norm.h"

namespace nibble::nn {

Decoder::Decoder(const Model& model, int64_t capacity, const Place& place)
    : model_(model), rope_(make_rope_table(model.config, capacity)), ws_(place), upload_(place), host_embedding_(place), capacity_(capacity) {
  const ModelConfig& c = model.config;
  const auto options = place.options(model.dtype);
  rope_ = {rope_.cos.to(place.device), rope_.sin.to(place.device)};
  for (size_t l = 0; l < model.layers.size(); ++l) {
    const std::array<int64_t, 3> sizes{capacity, c.num_key_value_heads, c.head_dim};
    caches_.push_back({at::empty(sizes, options), at::empty(sizes, options), 0});
  }
  logits_ = at::empty({place.queue ? 1 : TokenStep::kMaxTokens, c.vocab_size}, at::kFloat);
  if (!place.queue) step_ = std::make_unique<TokenStep>(model, rope_, capacity);
}

void Decoder::expect_fits(std::span<const int32_t> ids) const {
  if (ids.empty()) throw std::invalid_argument("no tokens to feed");
  if (length_ + static_cast<int64_t>(ids.size()) > capacity_) {
    throw std::invalid_argument(fmt::format("{} tokens do not fit: {} of {} are used", ids.size(), length_, capacity_));
  }
  for (int32_t id : ids) {
    if (id < 0 || id >= model_.config.vocab_size) {
      throw std::invalid_argument(fmt::format("token id {} is outside the vocabulary of {}", id, model_.config.vocab_size));
    }
  }
}

Tensor Decoder::feed(std::span<const int32_t> ids, const std::function<void()>& each) {
  expect_fits(ids);
  // More than a step takes are worth a pass, where they are the whole text.
  const auto at_once = static_cast<size_t>(step_ ? TokenStep::kMaxTokens : 1);
  if (length_ == 0 && (!step_ || ids.size() > at_once)) {
    run(ids, each);
    return logits_[0];
  }
  for (size_t i = 0; i < ids.size(); i += at_once) {
    const auto part = ids.subspan(i, std::min(at_once, ids.size() - i));
    if (!step_) {
      run(part, each);
      continue;
    }
    step_->run(part, caches_, logits_.mutable_data_ptr<float>());
    length_ += static_cast<int64_t>(part.size());
  }
  return logits_[0];
}

Tensor Decoder::feed_each(std::span<const int32_t> ids) {
  expect_fits(ids);
  const auto tokens = static_cast<int64_t>(ids.size());
  step_->run(ids, caches_, logits_.mutable_data_ptr<float>(), tokens);
  length_ += tokens;
  return logits_.narrow(0, 0, tokens);
}

void Decoder::take_back(int64_t tokens) {
  for (KvCache& cache : caches_) cache.length -= tokens;
  length_ -= tokens;
}

void Decoder::run(std::span<const int32_t> ids, const std::function<void()>& each) {
  const auto tokens = static_cast<int64_t>(ids.size());
  ArenaScope saved_scope(ws_.saved), scratch_scope(ws_.scratch);
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(length_));
  const std::array<int32_t, 2> document{0, static_cast<int32_t>(tokens)};
  const DeviceBatch batch = upload_.upload({ids, {}, positions, document}, {});
  const LayerContext context{model_.config, rope_, batch.positions, document, {}, batch.documents};
  const gpu::Queue& queue = ws_.place.queue;
  Tensor x = ws_.saved.take({tokens, model_.config.hidden_size}, model_.dtype);
  if (model_.embedding_on_host) {
    host_embedding_.gather(model_.embedding, ids, x);
  } else {
    embed(model_.embedding, batch.ids, x, queue);
  }
  Tensor y = ws_.saved.take(x.sizes(), model_.dtype);
  if (!model_.feed) ws_.panels.begin(0);  // with one, nothing is decoded ahead
  for (size_t l = 0; l < model_.layers.size(); ++l) {
    if (each) each();
    model_.enter(static_cast<int64_t>(l), static_cast<int64_t>(l) + 1);
    layer_forward(model_.layers[l], context, x, y, {}, nullptr, ws_, &caches_[l]);
    std::swap(x, y);
  }
  length_ += tokens;
  const Tensor last = x.narrow(0, tokens - 1, 1);
  const Tensor normed = ws_.saved.take(last.sizes(), model_.dtype);
  rms_norm(last, model_.final_norm, model_.config.rms_norm_eps, normed, Tensor(), queue);
  model_.enter(static_cast<int64_t>(model_.layers.size()), 0);
  if (step_) return step_->head(normed, logits_.mutable_data_ptr<float>());
  const Tensor logits = ws_.saved.take({1, model_.config.vocab_size}, model_.dtype);
  head_logits(model_.head, normed, logits, ws_);
  logits_[0].copy_(logits.view({-1}));
}

int32_t choose_token(std::span<const float> logits, double temperature, uint64_t seed, uint64_t index) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (temperature <= 0) return static_cast<int32_t>(largest - logits.begin());
  const double max = *largest;
  const auto weight = [&](float logit) { return std::exp((static_cast<double>(logit) - max) / temperature); };
  double total = 0;
  for (const float logit : logits) total += weight(logit);
  double left = random_uniform({seed, RngPurpose::kSample, 0}, index) * total;
  int32_t last = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double p = weight(logits[i]);
    if (p <= 0) continue;
    last = static_cast<int32_t>(i);
    left -= p;
    if (left < 0) break;
  }
  return last;
}

}  // namespace nibble::nn
