#include "trainer/open_tokenizer.h"

#include <filesystem>

#include "io/gguf.h"
#include "io/hub_cache.h"

namespace nibble::trainer {
namespace {

// The seam between io, which reads GGUF, and data, which knows tokenizers.
data::GgufVocab gguf_vocab(const io::GgufFile& file) {
  data::GgufVocab v;
  v.path = file.path().string();
  v.model = file.get_string("tokenizer.ggml.model");
  v.pre = file.find_string("tokenizer.ggml.pre").value_or("");
  v.tokens = file.get_strings("tokenizer.ggml.tokens");
  v.scores = file.get_f32s("tokenizer.ggml.scores");
  v.token_types = file.get_i32s("tokenizer.ggml.token_type");
  v.merges = file.get_strings("tokenizer.ggml.merges");
  v.bos_id = file.find_int("tokenizer.ggml.bos_token_id").value_or(-1);
  v.eos_id = file.find_int("tokenizer.ggml.eos_token_id").value_or(-1);
  v.pad_id = file.find_int("tokenizer.ggml.padding_token_id").value_or(-1);
  v.unk_id = file.find_int("tokenizer.ggml.unknown_token_id").value_or(-1);
  v.add_bos = file.find_bool("tokenizer.ggml.add_bos_token");
  v.add_eos = file.find_bool("tokenizer.ggml.add_eos_token");
  v.add_space_prefix = file.find_bool("tokenizer.ggml.add_space_prefix");
  v.chat_template = file.find_string("tokenizer.chat_template").value_or("");
  return v;
}

}  // namespace

data::Tokenizer open_tokenizer(const io::WeightSource& source) {
  if (const io::GgufFile* gguf = source.gguf()) return data::Tokenizer::from_gguf(gguf_vocab(*gguf));
  return data::Tokenizer::from_folder(source.path());
}

data::Tokenizer open_tokenizer(const std::string& model_name_or_path) {
  const std::filesystem::path model = io::find_model(model_name_or_path);
  std::error_code missing;
  if (std::filesystem::is_directory(model, missing)) return data::Tokenizer::from_folder(model);
  return open_tokenizer(*io::open_weight_source(model_name_or_path));
}

}  // namespace nibble::trainer
