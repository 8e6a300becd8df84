// A tokenizer of a stranger's bytes, used: the common part of the targets that read tokenizer files.
#pragma once

#include <algorithm>

#include "data/tokenizer.h"
#include "tests/fuzz/fuzz_folder.h"

namespace nibble::fuzz {

// Puts the input into the folder under this name, loads it, and encodes and decodes. THROWS Error where the loader refuses it.
inline void use_tokenizer(const char* name, std::string_view input) {
  folder().put(name, input);
  const data::Tokenizer tokenizer = data::Tokenizer::from_folder(folder().path());
  const std::string_view tail = input.substr(input.size() - std::min<size_t>(input.size(), 200));
  for (const std::string_view text : {std::string_view("The 12 boats,\n\tat  noon: caf\xC3\xA9 \xF0\x9F\x9A\xA2 don't."), tail}) {
    const auto ids = tokenizer.encode(text, /*add_special_tokens=*/true);
    for (const int32_t id : ids) require(id >= 0 && id < tokenizer.vocab_size());
    tokenizer.decode(ids, /*skip_special_tokens=*/false);
  }
}

}  // namespace nibble::fuzz
