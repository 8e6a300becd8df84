#include "io/weights_from_gguf.h"

#include <fmt/format.h>

#include <stdexcept>
#include <vector>

#include "core/error.h"
#include "io/fingerprint.h"
#include "io/gguf_model.h"
#include "io/passing_tensor.h"
#include "io/safetensors.h"

namespace nibble::io {

GgufSource::GgufSource(const std::filesystem::path& file) : file_(file) {
  path_ = file;
  config_ = gguf_model_config(file_);
  for (const GgufTensor& tensor : file_.tensors()) {
    if (tensor.name == "rope_freqs.weight") continue;  // part of the configuration
    const auto name = hf_name_of_gguf(tensor.name);
    if (!name) {
      throw ConfigError(fmt::format("tensor '{}' is not part of a {} model that nibble knows", tensor.name,
                                    nn::family_traits(config_.family).model_type), Place{file.string(), 0, 0, tensor.begin});
    }
    names_.push_back(*name);
    tensors_.emplace(*name, &tensor);
  }
}

const GgufTensor& GgufSource::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw FormatError(fmt::format("it holds no weight '{}', which a {} model with its metadata has; download it again", name,
                                  nn::family_traits(config_.family).model_type), path_.string());
  }
  return *found->second;
}

Tensor GgufSource::read(const std::string& name) const {
  const GgufTensor& from = tensor(name);
  Tensor into = passing_tensor(from.shape, at::kBFloat16);
  auto* values = into.mutable_data_ptr<at::BFloat16>();
  // A vector is one row here, but as a bias its elements are the rows of q and k.
  const bool is_vector = from.shape.size() < 2;
  const bool interleaved = has_interleaved_rows(config_, name);
  if (interleaved && (is_vector ? from.row_elements() : from.rows()) % config_.head_dim != 0) {
    throw FormatError(fmt::format("tensor '{}' has shape {}, no multiple of the head width {}", from.name, shape_text(from.shape),
                                  config_.head_dim), path_.string(), from.begin);
  }
  const int64_t columns = from.row_elements();
  at::parallel_for(0, from.rows(), 1 + (int64_t{1} << 16) / columns, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(columns));
    for (int64_t r = begin; r < end; ++r) {
      const bool move_row = interleaved && !is_vector;
      dequantize_rows(file_, from, move_row ? interleaved_row(r, config_.head_dim) : r, 1, row.data());
      for (int64_t i = 0; i < columns; ++i) {
        const int64_t source = interleaved && is_vector ? interleaved_row(i, config_.head_dim) : i;
        values[r * columns + i] = at::BFloat16(row[static_cast<size_t>(source)]);
      }
    }
  });
  return into;
}

quant::QuantizedWeight GgufSource::read_packed(const std::string& name) const {
  throw std::logic_error(fmt::format("'{}' is not stored in bitsandbytes' 4 bits", name));
}

std::string GgufSource::fingerprint() const {
  Fingerprint fingerprint;
  fingerprint.add_file(path_.filename().string(), file_.all_bytes(), file_.header().size());
  return fingerprint.text();
}

}  // namespace nibble::io
