// Chat formats in tests: a tokenizer that has any special tokens, and the golden conversations.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "core/utf8.h"
#include "data/conversation.h"
#include "data/rendering.h"
#include "tests/data/fixtures.h"

namespace nibble::data {

// Every byte is a token, and each of `specials`; "" for a BOS or EOS that the tokenizer does not have.
inline Tokenizer byte_tokenizer(std::vector<std::string> specials, const std::string& bos, const std::string& eos, const std::string& chat_template = "",
                                bool adds_bos = true) {
  GgufVocab vocab;
  vocab.path = "bytes.gguf";
  vocab.model = "gpt2";
  vocab.pre = "gpt-2";
  for (const std::string& token : {bos, eos}) {
    if (!token.empty() && std::find(specials.begin(), specials.end(), token) == specials.end()) specials.push_back(token);
  }
  vocab.tokens = specials;
  vocab.token_types.assign(specials.size(), 3);
  // GPT-2 writes bytes that are no printable character of Latin-1 as the characters from U+0100 on.
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string token;
    append_utf8(token, printable ? static_cast<char32_t>(byte) : next++);
    vocab.tokens.push_back(token);
    vocab.token_types.push_back(1);
  }
  const auto id_of = [&](const std::string& token) {
    return token.empty() ? -1 : std::find(specials.begin(), specials.end(), token) - specials.begin();
  };
  vocab.bos_id = id_of(bos);
  vocab.eos_id = id_of(eos);
  vocab.add_bos = adds_bos && !bos.empty();
  vocab.chat_template = chat_template;
  return Tokenizer::from_gguf(vocab);
}

// The special tokens of the models whose templates are in the golden file.
inline std::vector<std::string> published_specials() {
  return {"<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>",
          "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "[INST]", "[/INST]", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<s>", "</s>"};
}

// Keys keep their order where `messages` is ordered JSON, as the reader of rows keeps it.
template <class Json>
Conversation conversation_of(const Json& messages) {
  Conversation out;
  for (const auto& message : messages) {
    Message& said = out.messages.emplace_back(Message{message["role"], ""});
    for (const auto& [key, value] : message.items()) {
      if (key == "content" && value.is_string()) said.content = value;
      else if (key != "role") said.fields[key] = value;
    }
  }
  return out;
}

inline nlohmann::json spans_of(const Rendering& rendering) {
  nlohmann::json spans = nlohmann::json::array();
  for (const Answer& answer : rendering.answers) spans.push_back({answer.span.begin, answer.span.end});
  return spans;
}

}  // namespace nibble::data
