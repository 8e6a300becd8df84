#include "io/stream_model.h"

#include <fmt/format.h>

#include "core/error.h"

namespace nibble::io {
namespace {

void add(nn::MappedPart& part, const Tensor& tensor, const WeightSource& source) {
  if (!tensor.defined() || !source.holds(tensor.const_data_ptr())) return;
  part.push_back({static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
}

}  // namespace

nn::MappedPart mapped_part(const nn::FrozenWeight& weight, const WeightSource& source) {
  nn::MappedPart part;
  const quant::QuantizedWeight& q = weight.packed;
  for (const Tensor* tensor : {&weight.dense, &q.codes, &q.absmax, &q.absmax_codes, &q.nested_absmax}) add(part, *tensor, source);
  return part;
}

nn::MappedPart mapped_part(const nn::Layer& layer, const WeightSource& source) {
  nn::MappedPart part;
  for (int p = 0; p < nn::kProjections; ++p) {
    const nn::MappedPart weight = mapped_part(layer.projection(static_cast<nn::Projection>(p)).weight, source);
    part.insert(part.end(), weight.begin(), weight.end());
  }
  return part;
}

std::vector<nn::MappedPart> mapped_parts(const nn::Model& model, const WeightSource& source) {
  std::vector<nn::MappedPart> parts;
  for (const nn::Layer& layer : model.layers) {
    for (int p = 0; p < nn::kProjections; ++p) {
      const nn::Linear& linear = layer.projection(static_cast<nn::Projection>(p));
      const Tensor& body = linear.weight.quantized() ? linear.weight.packed.codes : linear.weight.dense;
      if (!source.holds(body.const_data_ptr())) {
        throw ConfigError(fmt::format("base_residency: streamed needs weights that can be used as the files hold them, and '{}' is not; set "
                                      "load_in_4bit: true, or take a copy of the base in the compute dtype", linear.path),
                          Place{source.path().string(), 0, 0, -1});
      }
    }
    parts.push_back(mapped_part(layer, source));
  }
  parts.push_back(mapped_part(model.head, source));
  return parts;
}

void stream_from_files(nn::Model& model, const WeightSource& source) {
  nn::MappedPart embedding;
  add(embedding, model.embedding, source);
  model.feed = std::make_shared<nn::MappedFeed>(mapped_parts(model, source), std::move(embedding));
}

}  // namespace nibble::io
