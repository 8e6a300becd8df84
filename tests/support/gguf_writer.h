// Small GGUF files for tests, written from the format's description and not with nibble's own code.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tests/support/temporary_folder.h"

namespace nibble::test {

class GgufWriter {
 public:
  explicit GgufWriter(uint32_t version = 3) : version_(version) {}

  void u32(const std::string& key, uint32_t value) { pair(key, 4, plain(value)); }
  void u8(const std::string& key, uint8_t value) { pair(key, 0, plain(value)); }
  void i64(const std::string& key, int64_t value) { pair(key, 11, plain(value)); }
  void u64(const std::string& key, uint64_t value) { pair(key, 10, plain(value)); }
  void f32(const std::string& key, float value) { pair(key, 6, plain(value)); }
  void f64(const std::string& key, double value) { pair(key, 12, plain(value)); }
  void boolean(const std::string& key, uint8_t value) { pair(key, 7, plain(value)); }
  void string(const std::string& key, const std::string& value) { pair(key, 8, text(value)); }
  void strings(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = plain(uint32_t{8}) + plain(static_cast<uint64_t>(values.size()));
    for (const std::string& value : values) bytes += text(value);
    pair(key, 9, bytes);
  }
  template <typename T>
  void array(const std::string& key, uint32_t type, const std::vector<T>& values) {
    std::string bytes = plain(type) + plain(static_cast<uint64_t>(values.size()));
    for (const T& value : values) bytes += plain(value);
    pair(key, 9, bytes);
  }
  void pair(const std::string& key, uint32_t type, const std::string& value) {
    pairs_ += text(key) + plain(type) + value;
    ++pair_count_;
  }

  // shape: outermost first. data: as the type stores it.
  void tensor(const std::string& name, const std::vector<int64_t>& shape, uint32_t type, const std::string& data) {
    infos_ += text(name) + plain(static_cast<uint32_t>(shape.size()));
    for (size_t i = shape.size(); i-- > 0;) infos_ += plain(static_cast<uint64_t>(shape[i]));
    data_.resize((data_.size() + kAlignment - 1) / kAlignment * kAlignment);
    infos_ += plain(type) + plain(static_cast<uint64_t>(data_.size()));
    data_ += data;
    ++tensor_count_;
  }
  void tensor_f32(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    tensor(name, shape, 0, std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
  }

  std::string bytes() const {
    std::string all = "GGUF" + plain(version_) + plain(tensor_count_) + plain(pair_count_) + pairs_ + infos_;
    all.resize((all.size() + kAlignment - 1) / kAlignment * kAlignment);
    return all + data_;
  }
  void write(const std::filesystem::path& path) const { put_file(path, bytes()); }

  template <typename T>
  static std::string plain(T value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }
  static std::string text(const std::string& value) { return plain(static_cast<uint64_t>(value.size())) + value; }

 private:
  static constexpr size_t kAlignment = 32;
  uint32_t version_;
  std::string pairs_, infos_, data_;
  uint64_t pair_count_ = 0, tensor_count_ = 0;
};

struct TinyGguf {
  std::string arch = "llama";
  int64_t vocab = 12, hidden = 8, intermediate = 16, layers = 1, heads = 2, kv_heads = 1;
  bool tied = true, bias = false, qk_norm = false;
  int64_t head_dim() const { return hidden / heads; }
};

// A whole model in fp32. Each value tells where it is: row + column / 64, so that moved rows show.
inline GgufWriter tiny_gguf(const TinyGguf& o = {}) {
  GgufWriter w;
  w.string("general.architecture", o.arch);
  w.u32(o.arch + ".embedding_length", static_cast<uint32_t>(o.hidden));
  w.u32(o.arch + ".feed_forward_length", static_cast<uint32_t>(o.intermediate));
  w.u32(o.arch + ".block_count", static_cast<uint32_t>(o.layers));
  w.u32(o.arch + ".attention.head_count", static_cast<uint32_t>(o.heads));
  w.u32(o.arch + ".attention.head_count_kv", static_cast<uint32_t>(o.kv_heads));
  w.u32(o.arch + ".context_length", 64);
  w.f32(o.arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
  w.f32(o.arch + ".rope.freq_base", 50000.0f);
  w.string("tokenizer.ggml.model", "gpt2");
  w.string("tokenizer.ggml.pre", "smollm");
  w.strings("tokenizer.ggml.tokens", {"<s>", "</s>", "a", "b", "c", "ab", "\xC4\xA0", "1", "2", "\"", "abc", "d"});
  w.array<int32_t>("tokenizer.ggml.token_type", 5, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4});
  w.strings("tokenizer.ggml.merges", {"a b", "ab c"});
  w.u32("tokenizer.ggml.bos_token_id", 0);
  w.u32("tokenizer.ggml.eos_token_id", 1);
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t columns) {
    std::vector<float> values;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) values.push_back(static_cast<float>(r) + static_cast<float>(c) / 64);
    }
    w.tensor_f32(name, {rows, columns}, values);
  };
  const auto vector = [&](const std::string& name, int64_t n) {
    std::vector<float> values;
    for (int64_t i = 0; i < n; ++i) values.push_back(1 + static_cast<float>(i));
    w.tensor_f32(name, {n}, values);
  };
  const int64_t kv = o.kv_heads * o.head_dim();
  matrix("token_embd.weight", o.vocab, o.hidden);
  for (int64_t l = 0; l < o.layers; ++l) {
    const std::string p = "blk." + std::to_string(l) + ".";
    vector(p + "attn_norm.weight", o.hidden);
    vector(p + "ffn_norm.weight", o.hidden);
    matrix(p + "attn_q.weight", o.hidden, o.hidden);
    matrix(p + "attn_k.weight", kv, o.hidden);
    matrix(p + "attn_v.weight", kv, o.hidden);
    matrix(p + "attn_output.weight", o.hidden, o.hidden);
    matrix(p + "ffn_gate.weight", o.intermediate, o.hidden);
    matrix(p + "ffn_up.weight", o.intermediate, o.hidden);
    matrix(p + "ffn_down.weight", o.hidden, o.intermediate);
    if (o.bias) {
      vector(p + "attn_q.bias", o.hidden);
      vector(p + "attn_k.bias", kv);
      vector(p + "attn_v.bias", kv);
    }
    if (o.qk_norm) {
      vector(p + "attn_q_norm.weight", o.head_dim());
      vector(p + "attn_k_norm.weight", o.head_dim());
    }
  }
  vector("output_norm.weight", o.hidden);
  if (!o.tied) matrix("output.weight", o.vocab, o.hidden);
  return w;
}

}  // namespace nibble::test
