#include "io/load_model.h"

#include <fmt/format.h>

#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/error.h"
#include "io/concurrent_weights.h"
#include "io/safetensors.h"
#include "io/tensor_check.h"
#include "quant/blockwise.h"

namespace nibble::io {
namespace {

constexpr int64_t kLinearsAhead = 8;  // loaded, and waiting for a larger one before them

void expect_shape(const WeightSource& source, const std::string& name, const std::vector<int64_t>& expected) {
  const std::vector<int64_t> found = source.shape(name);
  if (found == expected) return;
  throw FormatError(fmt::format("weight '{}' has shape {}, but the configuration calls for {}; the model's files do not belong "
                                "together, download it again", name, shape_text(found), shape_text(expected)), source.place(name));
}

quant::QuantizedWeight moved(quant::QuantizedWeight q, at::Device device) {
  for (Tensor* part : {&q.codes, &q.absmax, &q.absmax_codes, &q.nested_absmax}) {
    if (part->defined()) *part = part->to(device);
  }
  return q;
}

// Quantizing finds out by itself whether all values are finite; to look first would be to read them twice.
quant::QuantizedWeight quantized(const Tensor& stored, const std::string& name, const quant::QuantConfig& config, const WeightSource& source) {
  try {
    return quant::quantize(stored, config);
  } catch (const std::invalid_argument&) {
    expect_finite(stored, name, source.place(name));
    throw;
  }
}

// The linear of the name, whose shape was checked.
nn::FrozenWeight load_frozen(const WeightSource& source, const std::string& name, const nn::LinearShape& shape, const LoadOptions& options) {
  nn::FrozenWeight weight;
  if (source.is_packed(name)) {
    quant::QuantizedWeight packed = options.views ? source.view_packed(name) : source.read_packed(name);
    source.drop(name);
    if (options.quant) {
      weight.packed = moved(std::move(packed), options.device);
    } else {
      weight.dense = quant::dequantize(packed, options.dtype).to(options.device);
    }
    return weight;
  }
  if (!options.quant) {
    weight.dense = load_dense(source, name, {shape.out, shape.in}, options);
    return weight;
  }
  const Tensor stored = source.read(name);
  weight.packed = moved(quantized(stored, name, *options.quant, source), options.device);
  source.drop(name);
  return weight;
}

LoadOptions on_host(LoadOptions options, bool host) {
  if (host) options.device = at::kCPU;
  return options;
}

class Loader {
 public:
  Loader(const WeightSource& source, const LoadOptions& options)
      : source_(source), options_(options), total_(static_cast<int64_t>(source.names().size())) {}

  Tensor dense(const std::string& name, const std::vector<int64_t>& shape) { return dense(name, shape, options_); }

  Tensor embedding() {
    const nn::ModelConfig& c = source_.config();
    const bool is_head = c.tie_word_embeddings && !options_.quantize_head;
    return dense(kEmbeddingName, {c.vocab_size, c.hidden_size}, on_host(options_, options_.embedding_on_host && !is_head));
  }

  nn::FrozenWeight head(const Tensor& embedding) {
    nn::FrozenWeight head;
    if (source_.config().tie_word_embeddings && !options_.quantize_head) {
      head.dense = embedding;
      return head;
    }
    head = load_head(source_, options_);
    if (source_.has(kHeadName)) count(kHeadName);
    return head;
  }

  // Loaded with all others by load_linears().
  void linear(nn::Linear& linear, const std::string& path, const nn::LinearShape& shape) {
    linear.path = path;
    linears_.push_back({&linear, shape});
    if (shape.bias) linear.bias = dense(path + ".bias", {shape.out});
  }

  void load_linears() {
    const LoadOptions options = on_host(options_, options_.linears_on_host);
    // What is decoded (GGUF) or copied to a device exists twice for a while: one at a time.
    const bool mapped = source_.gguf() == nullptr && options_.device.is_cpu();
    make_concurrently(static_cast<int64_t>(linears_.size()), mapped ? at::get_num_threads() : 1, kLinearsAhead, [&](int64_t i) -> std::function<void()> {
      const auto& [linear, shape] = linears_[static_cast<size_t>(i)];
      return [this, linear = linear, weight = load_linear(source_, linear->path, shape, options)] {
        linear->weight = weight;
        count(linear->path + ".weight");
      };
    });
  }

  // A weight of a layer that no code above asked for would be left out of the model without a word.
  void expect_all_used() const {
    for (const std::string& name : source_.names()) {
      if (name.starts_with("model.layers.") && used_.count(name) == 0) {
        throw FormatError(fmt::format("weight '{}' has no place in a {} model with this configuration; nibble cannot train this "
                                      "model rightly", name, nn::family_traits(source_.config().family).model_type),
                          source_.path().string());
      }
    }
  }

 private:
  Tensor dense(const std::string& name, const std::vector<int64_t>& shape, const LoadOptions& options) {
    Tensor tensor = load_dense(source_, name, shape, options);
    count(name);
    return tensor;
  }
  void count(const std::string& name) {
    used_.insert(name);
    if (options_.progress) options_.progress(static_cast<int64_t>(used_.size()), total_);
  }

  const WeightSource& source_;
  const LoadOptions& options_;
  std::vector<std::pair<nn::Linear*, nn::LinearShape>> linears_;
  int64_t total_;
  std::set<std::string> used_;
};

}  // namespace

nn::FrozenWeight load_linear(const WeightSource& source, const std::string& path, const nn::LinearShape& shape,
                             const LoadOptions& options) {
  const std::string name = path + ".weight";
  expect_shape(source, name, {shape.out, shape.in});
  return load_frozen(source, name, shape, options);
}

Tensor load_dense(const WeightSource& source, const std::string& name, const std::vector<int64_t>& shape, const LoadOptions& options) {
  expect_shape(source, name, shape);
  const Tensor stored = source.read(name);
  if (!source.verified()) expect_finite(stored, name, source.place(name));
  if (options.views && options.device.is_cpu() && stored.scalar_type() == options.dtype && source.holds(stored.const_data_ptr())) {
    source.drop(name);
    return stored;
  }
  // Decoded GGUF weights are copies already; views of the file must become one.
  const Tensor dense = stored.to(at::TensorOptions().dtype(options.dtype).device(options.device), /*non_blocking=*/false, /*copy=*/true);
  source.drop(name);
  return dense;
}

nn::FrozenWeight load_head(const WeightSource& source, const LoadOptions& options) {
  const nn::ModelConfig& c = source.config();
  // A tied checkpoint may hold the head once more, and only the embedding counts; but in a packed cache it is another tensor.
  const bool own = !c.tie_word_embeddings || (source.has(kHeadName) && source.is_packed(kHeadName));
  const std::string name = own ? kHeadName : kEmbeddingName;
  const nn::LinearShape shape{c.vocab_size, c.hidden_size, false};
  expect_shape(source, name, {shape.out, shape.in});
  if (options.quantize_head) {
    if (!options.quant) throw ConfigError("the head can be in 4 bits only where the linears are (load_in_4bit)");
    return load_frozen(source, name, shape, options);
  }
  nn::FrozenWeight head;
  head.dense = load_dense(source, name, {shape.out, shape.in}, options);
  return head;
}

nn::Model load_model(const WeightSource& source, const LoadOptions& options) {
  const nn::ModelConfig& c = source.config();
  nn::Model model;
  model.config = c;
  model.dtype = options.dtype;
  Loader loader(source, options);
  model.embedding = loader.embedding();
  model.embedding_on_host = !options.device.is_cpu() && model.embedding.device().is_cpu();
  model.layers.resize(static_cast<size_t>(c.num_hidden_layers));
  for (int64_t l = 0; l < c.num_hidden_layers; ++l) {
    nn::Layer& layer = model.layers[static_cast<size_t>(l)];
    const std::string prefix = fmt::format("model.layers.{}.", l);
    layer.window = c.layer_window.at(static_cast<size_t>(l));
    layer.input_norm = loader.dense(prefix + "input_layernorm.weight", {c.hidden_size});
    layer.post_attention_norm = loader.dense(prefix + "post_attention_layernorm.weight", {c.hidden_size});
    if (c.qk_norm) {
      layer.q_norm = loader.dense(prefix + "self_attn.q_norm.weight", {c.head_dim});
      layer.k_norm = loader.dense(prefix + "self_attn.k_norm.weight", {c.head_dim});
    }
    for (int p = 0; p < nn::kProjections; ++p) {
      const auto projection = static_cast<nn::Projection>(p);
      loader.linear(layer.projection(projection), nn::projection_path(l, projection), nn::projection_shape(c, projection));
    }
  }
  loader.load_linears();
  model.final_norm = loader.dense("model.norm.weight", {c.hidden_size});
  model.head = loader.head(model.embedding);
  loader.expect_all_used();
  source.expect_unchanged();
  return model;
}

}  // namespace nibble::io
