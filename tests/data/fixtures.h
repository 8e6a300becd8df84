// Golden files and tokenizers that several tests of this folder use.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "data/tokenizer.h"

namespace nibble::data {

inline std::filesystem::path golden_path(const std::string& name) { return std::filesystem::path(NIBBLE_GOLDEN_DIR) / name; }

inline std::string read_golden(const std::string& name) {
  std::ifstream file(golden_path(name), std::ios::binary);
  if (!file) throw std::runtime_error("missing golden file " + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline nlohmann::json read_golden_json(const std::string& name) { return nlohmann::json::parse(read_golden(name)); }

inline std::string smollm2_chat_template() {
  return read_golden_json("chat/templates.json")["templates"]["smollm2"]["template"].get<std::string>();
}

// SmolLM2's vocabulary as its GGUF file holds it: 17 special tokens, 235 bytes, and one token a merge.
inline GgufVocab smollm2_vocab(const std::string& pre) {
  GgufVocab vocab;
  vocab.path = "smollm2.gguf";
  vocab.model = "gpt2";
  vocab.pre = pre;
  vocab.tokens = read_golden_json("tokenizers/smollm2/base_tokens.json").get<std::vector<std::string>>();
  vocab.token_types.assign(17, 3);
  std::istringstream merges(read_golden("tokenizers/smollm2/merges.txt"));
  for (std::string line; std::getline(merges, line);) {
    vocab.merges.push_back(line);
    vocab.tokens.push_back(line.substr(0, line.find(' ')) + line.substr(line.find(' ') + 1));
  }
  vocab.token_types.resize(vocab.tokens.size(), 1);
  vocab.bos_id = 1;
  vocab.eos_id = 2;
  vocab.unk_id = 0;
  vocab.pad_id = 2;
  vocab.add_bos = false;
  vocab.chat_template = smollm2_chat_template();
  return vocab;
}

inline Tokenizer smollm2_tokenizer(const std::string& pre = "smollm") { return Tokenizer::from_gguf(smollm2_vocab(pre)); }

}  // namespace nibble::data
