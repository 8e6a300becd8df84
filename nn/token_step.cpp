#include "nn/token_step.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "nn/attention_decode_cpu.h"
#include "nn/attention_math.h"
#include "nn/rms_norm_cpu.h"
#include "nn/rope_cpu.h"
#include "nn/rows.h"
#include "nn/swiglu_cpu.h"
#include "nn/vectorize.h"

namespace nibble::nn {
namespace {

constexpr int64_t kAttentionGrain = 64 * 1024;  // elements of keys that one thread reads at least

template <class Element>
NIBBLE_INLINE void round_all(const float* sums, Element* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store_element(out, i, sums[i]);
}
NIBBLE_CLONES void round_row(const float* sums, float* out, int64_t n) { round_all(sums, out, n); }
NIBBLE_CLONES void round_row(const float* sums, uint16_t* out, int64_t n) { round_all(sums, out, n); }

// out += sums, both rounded to the dtype: a linear's output and the residual.
template <class Element>
NIBBLE_INLINE void round_and_add(const float* sums, Element* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store_element(out, i, load_element(out, i) + round_to<Element>(sums[i]));
}
NIBBLE_CLONES void add_row(const float* sums, float* out, int64_t n) { round_and_add(sums, out, n); }
NIBBLE_CLONES void add_row(const float* sums, uint16_t* out, int64_t n) { round_and_add(sums, out, n); }

}  // namespace

class TokenStep::Impl {
 public:
  virtual ~Impl() = default;
  virtual void run(std::span<const int32_t> ids, std::span<KvCache> caches, float* logits, int64_t wanted) = 0;
  virtual void head(const void* normed, int64_t tokens, float* logits) = 0;
};

template <class Element>
class TokenStep::Step final : public TokenStep::Impl {
 public:
  Step(const Model& model, const RopeTable& rope, int64_t capacity, GemvIsa isa)
      : model_(model), config_(model.config), rope_(rope), isa_(isa), capacity_(capacity), head_(model.head) {
    int64_t widest = 0, rank = 0;
    for (const Layer& layer : model.layers) {
      std::array<GemvLinear, kProjections>& linears = layers_.emplace_back();
      for (int p = 0; p < kProjections; ++p) {
        linears[static_cast<size_t>(p)] = GemvLinear(layer.projection(static_cast<Projection>(p)));
        rank = std::max(rank, linears[static_cast<size_t>(p)].rank());
        widest = std::max(widest, linears[static_cast<size_t>(p)].in());
      }
    }
    widest = std::max(widest, config_.hidden_size);
    const int64_t T = kMaxTokens, C = config_.hidden_size, F = config_.intermediate_size;
    x_ = take({T, C});
    normed_ = take({T, C});
    qkv_ = take({T, qkv_width()});
    normed_heads_ = take({T, std::max(config_.q_width(), config_.kv_width())});
    attended_ = take({T, config_.q_width()});
    gate_ = take({T, F});
    up_ = take({T, F});
    h_ = take({3, T, std::max<int64_t>(rank, 1)});
    sums_ = at::empty({T, std::max({qkv_width(), C, F})}, at::kFloat);
    sums_b_ = at::empty({T, F}, at::kFloat);
    scores_ = at::empty({at::get_num_threads(), capacity + config_.head_dim}, at::kFloat);
    arranged_ = at::empty({arranged_bytes(T, widest)}, at::kByte);
  }

  void run(std::span<const int32_t> ids, std::span<KvCache> caches, float* logits, int64_t wanted) override {
    tokens_ = static_cast<int64_t>(ids.size());
    const int64_t C = config_.hidden_size, L = static_cast<int64_t>(layers_.size());
    const auto* table = elements<Element>(model_.embedding);
    for (int64_t t = 0; t < tokens_; ++t) std::memcpy(data_of(x_) + t * C, table + ids[static_cast<size_t>(t)] * C, static_cast<size_t>(C) * sizeof(Element));
    for (int64_t l = 0; l < L; ++l) {
      model_.enter(l, l + 1);
      layer(model_.layers[static_cast<size_t>(l)], layers_[static_cast<size_t>(l)], caches[static_cast<size_t>(l)]);
    }
    model_.enter(L, 0);
    norm(data_of(x_) + (tokens_ - wanted) * C, nullptr, model_.final_norm, data_of(normed_), wanted, C);
    head(data_of(normed_), wanted, logits);
  }

  void head(const void* normed, int64_t tokens, float* logits) override {
    const GemvInput<Element> input = arranged(static_cast<const Element*>(normed), config_.hidden_size, tokens);
    at::parallel_for(0, head_.out(), gemv_grain(head_.in()), [&](int64_t begin, int64_t end) {
      head_.sum_rows<Element>(input, nullptr, begin, end, logits, head_.out(), isa_);
    });
  }

 private:
  static constexpr at::ScalarType kDtype = sizeof(Element) == 4 ? at::kFloat : at::kBFloat16;
  static Tensor take(at::IntArrayRef sizes) { return at::empty(sizes, kDtype); }
  static Element* data_of(const Tensor& t) { return elements<Element>(t); }
  int64_t qkv_width() const { return config_.q_width() + 2 * config_.kv_width(); }

  GemvInput<Element> arranged(const Element* x, int64_t in, int64_t tokens) {
    arrange_cpu(x, tokens, in, isa_, arranged_.mutable_data_ptr());
    return {x, arranged_.const_data_ptr(), tokens, in};
  }

  void norm(const Element* x, const Element* delta, const Tensor& weight, Element* y, int64_t rows, int64_t width) const {
    rms_norm_cpu(RmsNormRows<Element>{const_cast<Element*>(x), delta, data_of(weight), y, nullptr, width, width, width, width, config_.rms_norm_eps}, 0, rows);
  }

  // h of the adapter of the linear, in the slot'th part of h_.
  const Element* to_rank(const GemvLinear& linear, const GemvInput<Element>& input, int64_t slot) {
    if (linear.rank() == 0) return nullptr;
    Element* h = data_of(h_) + slot * h_.stride(0);
    linear.project_to_rank(input, h, isa_);
    return h;
  }

  // Rows [begin, end) of a linear into sums, then finish(token, sums, rows, first row).
  template <class Finish>
  void rows(const GemvLinear& linear, const GemvInput<Element>& input, const Element* h, int64_t begin, int64_t end, float* sums,
            const Finish& finish) const {
    if (begin >= end) return;
    linear.sum_rows(input, h, begin, end, sums, linear.out(), isa_);
    for (int64_t t = 0; t < tokens_; ++t) finish(t, sums + t * linear.out() + begin, end - begin, begin);
  }

  void layer(const Layer& layer, const std::array<GemvLinear, kProjections>& linears, KvCache& cache) {
    const auto linear = [&](Projection p) -> const GemvLinear& { return linears[static_cast<size_t>(p)]; };
    norm(data_of(x_), nullptr, layer.input_norm, data_of(normed_), tokens_, config_.hidden_size);
    project_heads(linear(Projection::kQ), linear(Projection::kK), linear(Projection::kV));
    norm_and_rotate_heads(layer, cache.length);
    append(cache);
    attend(cache, layer.window);
    add_linear(linear(Projection::kO), data_of(attended_));
    norm(data_of(x_), nullptr, layer.post_attention_norm, data_of(normed_), tokens_, config_.hidden_size);
    gate_up(linear(Projection::kGate), linear(Projection::kUp));
    add_linear(linear(Projection::kDown), data_of(gate_));
  }

  // q, k and v of each token side by side in qkv_: one round of threads for the three.
  void project_heads(const GemvLinear& q, const GemvLinear& k, const GemvLinear& v) {
    const GemvInput<Element> input = arranged(data_of(normed_), config_.hidden_size, tokens_);
    const std::array<const GemvLinear*, 3> linears{&q, &k, &v};
    std::array<const Element*, 3> h{};
    for (size_t i = 0; i < 3; ++i) h[i] = to_rank(*linears[i], input, static_cast<int64_t>(i));
    at::parallel_for(0, qkv_width(), gemv_grain(q.in()), [&](int64_t begin, int64_t end) {
      int64_t first = 0;  // of the linear in qkv_
      for (size_t i = 0; i < 3; ++i) {
        const GemvLinear& linear = *linears[i];
        rows(linear, input, h[i], std::clamp<int64_t>(begin - first, 0, linear.out()), std::clamp<int64_t>(end - first, 0, linear.out()),
             sums_.mutable_data_ptr<float>() + kMaxTokens * first, [&](int64_t t, const float* sums, int64_t n, int64_t row) {
               round_row(sums, data_of(qkv_) + t * qkv_width() + first + row, n);
             });
        first += linear.out();
      }
    });
  }

  void norm_and_rotate_heads(const Layer& layer, int64_t past) {
    for (int64_t t = 0; t < tokens_; ++t) positions_[static_cast<size_t>(t)] = static_cast<int32_t>(past + t);
    const int64_t D = config_.head_dim;
    for (const bool is_query : {true, false}) {
      const int64_t heads = is_query ? config_.num_attention_heads : config_.num_key_value_heads;
      Element* data = data_of(qkv_) + (is_query ? 0 : config_.q_width());
      const Tensor& weight = is_query ? layer.q_norm : layer.k_norm;
      if (weight.defined()) {
        for (int64_t t = 0; t < tokens_; ++t) {
          norm(data + t * qkv_width(), nullptr, weight, data_of(normed_heads_), heads, D);
          std::memcpy(data + t * qkv_width(), data_of(normed_heads_), static_cast<size_t>(heads * D) * sizeof(Element));
        }
      }
      rope_cpu(RopeRows<Element>{data, positions_.data(), elements<const float>(rope_.cos), elements<const float>(rope_.sin), qkv_width(), D, heads,
                                 D / 2, false}, 0, tokens_);
    }
  }

  void append(KvCache& cache) const {
    const int64_t width = config_.kv_width();
    for (int64_t t = 0; t < tokens_; ++t) {
      const Element* k = data_of(qkv_) + t * qkv_width() + config_.q_width();
      const int64_t to = (cache.length + t) * width;
      std::memcpy(data_of(cache.k) + to, k, static_cast<size_t>(width) * sizeof(Element));
      std::memcpy(data_of(cache.v) + to, k + width, static_cast<size_t>(width) * sizeof(Element));
    }
    cache.length += tokens_;
  }

  // Each token sees the keys up to its own.
  void attend(const KvCache& cache, int64_t window) const {
    const int64_t Hq = config_.num_attention_heads, D = config_.head_dim, width = config_.kv_width(), group = Hq / config_.num_key_value_heads;
    const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(D)));
    at::parallel_for(0, tokens_ * Hq, std::max<int64_t>(1, kAttentionGrain / (cache.length * D)), [&](int64_t begin, int64_t end) {
      float* scores = scores_.mutable_data_ptr<float>() + at::get_thread_num() * scores_.stride(0);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t t = i / Hq, h = i % Hq, position = cache.length - tokens_ + t, first = first_key(position, window);
        const int64_t kv = first * width + h / group * D;
        attention_decode_cpu(DecodeHead<Element>{data_of(qkv_) + t * qkv_width() + h * D, data_of(cache.k) + kv, data_of(cache.v) + kv,
                                                 data_of(attended_) + t * config_.q_width() + h * D, scores, scores + capacity_, width, width,
                                                 position + 1 - first, D, scale},
                             isa_);
      }
    });
  }

  // x += linear(input)
  void add_linear(const GemvLinear& linear, const Element* input_rows) {
    const GemvInput<Element> input = arranged(input_rows, linear.in(), tokens_);
    const Element* h = to_rank(linear, input, 0);
    at::parallel_for(0, linear.out(), gemv_grain(linear.in()), [&](int64_t begin, int64_t end) {
      rows(linear, input, h, begin, end, sums_.mutable_data_ptr<float>(),
           [&](int64_t t, const float* sums, int64_t n, int64_t row) { add_row(sums, data_of(x_) + t * config_.hidden_size + row, n); });
    });
  }

  // gate_ = swiglu(gate, up)
  void gate_up(const GemvLinear& gate, const GemvLinear& up) {
    const GemvInput<Element> input = arranged(data_of(normed_), config_.hidden_size, tokens_);
    const Element* gate_h = to_rank(gate, input, 0);
    const Element* up_h = to_rank(up, input, 1);
    const int64_t F = config_.intermediate_size;
    at::parallel_for(0, F, gemv_grain(2 * gate.in()), [&](int64_t begin, int64_t end) {
      rows(gate, input, gate_h, begin, end, sums_.mutable_data_ptr<float>(),
           [&](int64_t t, const float* sums, int64_t n, int64_t row) { round_row(sums, data_of(gate_) + t * F + row, n); });
      rows(up, input, up_h, begin, end, sums_b_.mutable_data_ptr<float>(), [&](int64_t t, const float* sums, int64_t n, int64_t row) {
        const int64_t from = t * F + row;
        round_row(sums, data_of(up_) + from, n);
        swiglu_cpu(data_of(gate_) + from, data_of(up_) + from, data_of(gate_) + from, n);
      });
    });
  }

  const Model& model_;
  const ModelConfig& config_;
  const RopeTable& rope_;
  const GemvIsa isa_;
  const int64_t capacity_;
  std::vector<std::array<GemvLinear, kProjections>> layers_;
  GemvLinear head_;
  int64_t tokens_ = 0;                       // of this step
  std::array<int32_t, kMaxTokens> positions_{};
  Tensor x_, normed_;                        // [8, C]
  Tensor qkv_, normed_heads_, attended_;     // [8, (Hq + 2 Hkv) D], [8, Hq D or Hkv D], [8, Hq D]
  Tensor gate_, up_;                         // [8, F]
  Tensor h_;                                 // [3, 8, R] inputs of LoRA's B
  Tensor sums_, sums_b_;                     // [8, widest output], fp32
  Tensor scores_;                            // [threads, capacity + D], fp32
  Tensor arranged_;                          // bytes
};

TokenStep::TokenStep(const Model& model, const RopeTable& rope, int64_t capacity, GemvIsa isa) {
  if (model.dtype == at::kFloat) {
    impl_ = std::make_unique<Step<float>>(model, rope, capacity, isa);
  } else {
    impl_ = std::make_unique<Step<uint16_t>>(model, rope, capacity, isa);
  }
}
TokenStep::~TokenStep() = default;

void TokenStep::run(std::span<const int32_t> ids, std::span<KvCache> caches, float* logits, int64_t wanted) {
  impl_->run(ids, caches, logits, wanted);
}

void TokenStep::head(const Tensor& normed, float* logits) { impl_->head(normed.const_data_ptr(), 1, logits); }

}  // namespace nibble::nn
