// A Hugging Face Llama folder of any small shape with random bf16 weights, the same for a shape on every machine: for tests of
// what a run does with memory, where a golden model is too small to show it.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/bf16.h"
#include "core/rng.h"
#include "tests/support/temporary_folder.h"

namespace nibble::test {

struct RandomModel {
  int64_t hidden = 512, intermediate = 1536, layers = 12, heads = 8, kv_heads = 4, vocab = 512, positions = 2048;
  bool tied = false;
};

// Every weight of the shape, [out, in] or [n], in the order of the file.
inline std::vector<std::pair<std::string, std::vector<int64_t>>> weights_of(const RandomModel& m) {
  const int64_t kv = m.hidden / m.heads * m.kv_heads;
  std::vector<std::pair<std::string, std::vector<int64_t>>> all{{"model.embed_tokens.weight", {m.vocab, m.hidden}}};
  for (int64_t l = 0; l < m.layers; ++l) {
    const auto add = [&](const char* name, std::vector<int64_t> shape) { all.emplace_back(fmt::format("model.layers.{}.{}.weight", l, name), std::move(shape)); };
    add("input_layernorm", {m.hidden});
    add("self_attn.q_proj", {m.hidden, m.hidden});
    add("self_attn.k_proj", {kv, m.hidden});
    add("self_attn.v_proj", {kv, m.hidden});
    add("self_attn.o_proj", {m.hidden, m.hidden});
    add("post_attention_layernorm", {m.hidden});
    add("mlp.gate_proj", {m.intermediate, m.hidden});
    add("mlp.up_proj", {m.intermediate, m.hidden});
    add("mlp.down_proj", {m.hidden, m.intermediate});
  }
  all.emplace_back("model.norm.weight", std::vector<int64_t>{m.hidden});
  if (!m.tied) all.emplace_back("lm_head.weight", std::vector<int64_t>{m.vocab, m.hidden});
  return all;
}

// Replaces config.json and the weights of `folder`; a tokenizer is the caller's.
inline void write_random_model(const std::filesystem::path& folder, const RandomModel& m) {
  put_file(folder / "config.json",
           nlohmann::json{{"architectures", {"LlamaForCausalLM"}}, {"model_type", "llama"}, {"torch_dtype", "bfloat16"}, {"hidden_act", "silu"},
                          {"hidden_size", m.hidden}, {"intermediate_size", m.intermediate}, {"num_hidden_layers", m.layers},
                          {"num_attention_heads", m.heads}, {"num_key_value_heads", m.kv_heads}, {"vocab_size", m.vocab},
                          {"max_position_embeddings", m.positions}, {"rms_norm_eps", 1e-5}, {"rope_theta", 10000.0},
                          {"tie_word_embeddings", m.tied}, {"bos_token_id", 1}, {"eos_token_id", 2}}.dump());
  nlohmann::ordered_json header;
  int64_t end = 0;
  for (const auto& [name, shape] : weights_of(m)) {
    const int64_t bytes = 2 * shape[0] * (shape.size() > 1 ? shape[1] : 1);
    header[name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string file(reinterpret_cast<const char*>(&length), 8);
  file += text;
  // Values repeat with a period that is no multiple of a row: matrices of full rank, and no time spent on drawing them.
  std::vector<uint16_t> pool(65521);
  for (size_t i = 0; i < pool.size(); ++i) pool[i] = float_to_bf16(0.07f * (random_uniform({1, RngPurpose::kTest, 0}, i) - 0.5f));
  uint64_t tensor = 0;
  for (const auto& [name, shape] : weights_of(m)) {
    const int64_t elements = shape[0] * (shape.size() > 1 ? shape[1] : 1);
    const size_t start = static_cast<size_t>(random_below({2, RngPurpose::kTest, 0}, tensor++, pool.size()));
    for (int64_t i = 0; i < elements; ++i) {
      const uint16_t value = shape.size() == 1 ? float_to_bf16(1.0f) : pool[(start + static_cast<size_t>(i)) % pool.size()];
      file.append(reinterpret_cast<const char*>(&value), 2);
    }
  }
  put_file(folder / "model.safetensors", file);
}

}  // namespace nibble::test
