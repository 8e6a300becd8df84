#include "io/load_model.h"

#include <fmt/format.h>

#include <set>
#include <stdexcept>

#include "core/error.h"
#include "io/safetensors.h"
#include "io/tensor_check.h"
#include "quant/blockwise.h"

namespace nibble::io {
namespace {

void expect_shape(const WeightSource& source, const std::string& name, const std::vector<int64_t>& expected) {
  const std::vector<int64_t> found = source.shape(name);
  if (found == expected) return;
  throw FormatError(fmt::format("weight '{}' has shape {}, but the configuration calls for {}; the model's files do not belong "
                                "together, download it again", name, shape_text(found), shape_text(expected)), source.path().string());
}

// A copy of a weight of its own, in the compute dtype.
Tensor load_dense(const WeightSource& source, const std::string& name, const std::vector<int64_t>& shape, const LoadOptions& options) {
  expect_shape(source, name, shape);
  const Tensor stored = source.read(name);
  expect_finite(stored, name, source.path().string());
  // Decoded GGUF weights are copies already; views of the file must become one.
  Tensor dense = stored.to(at::TensorOptions().dtype(options.dtype).device(options.device), /*non_blocking=*/false, /*copy=*/true);
  source.drop(name);
  return dense;
}

quant::QuantizedWeight moved(quant::QuantizedWeight q, at::Device device) {
  for (Tensor* part : {&q.codes, &q.absmax, &q.absmax_codes, &q.nested_absmax}) {
    if (part->defined()) *part = part->to(device);
  }
  return q;
}

class Loader {
 public:
  Loader(const WeightSource& source, const LoadOptions& options)
      : source_(source), options_(options), total_(static_cast<int64_t>(source.names().size())) {}

  Tensor dense(const std::string& name, const std::vector<int64_t>& shape) {
    Tensor tensor = load_dense(source_, name, shape, options_);
    count(name);
    return tensor;
  }

  void linear(nn::Linear& linear, const std::string& path, const nn::LinearShape& shape) {
    linear.path = path;
    linear.weight = load_linear(source_, path, shape, options_);
    count(path + ".weight");
    if (shape.bias) linear.bias = dense(path + ".bias", {shape.out});
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
  void count(const std::string& name) {
    used_.insert(name);
    if (options_.progress) options_.progress(static_cast<int64_t>(used_.size()), total_);
  }

  const WeightSource& source_;
  const LoadOptions& options_;
  int64_t total_;
  std::set<std::string> used_;
};

}  // namespace

nn::FrozenWeight load_linear(const WeightSource& source, const std::string& path, const nn::LinearShape& shape,
                             const LoadOptions& options) {
  const std::string name = path + ".weight";
  expect_shape(source, name, {shape.out, shape.in});
  nn::FrozenWeight weight;
  if (source.is_packed(name)) {
    quant::QuantizedWeight packed = source.read_packed(name);
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
  expect_finite(stored, name, source.path().string());
  weight.packed = moved(quant::quantize(stored, *options.quant), options.device);
  source.drop(name);
  return weight;
}

nn::Model load_model(const WeightSource& source, const LoadOptions& options) {
  const nn::ModelConfig& c = source.config();
  nn::Model model;
  model.config = c;
  model.dtype = options.dtype;
  Loader loader(source, options);
  model.embedding = loader.dense("model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
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
  model.final_norm = loader.dense("model.norm.weight", {c.hidden_size});
  model.head.dense = c.tie_word_embeddings ? model.embedding : loader.dense("lm_head.weight", {c.vocab_size, c.hidden_size});
  loader.expect_all_used();
  return model;
}

}  // namespace nibble::io
