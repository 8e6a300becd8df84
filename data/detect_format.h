// Which built-in format a Jinja template writes, found by rendering.
#pragma once

#include <optional>
#include <string>

#include "data/chat_format.h"
#include "data/jinja_chat.h"

namespace nibble::data {

// The format that writes every probe conversation byte for byte as the template does, and refuses those that it refuses; bound to
// the tokenizer's tokens. nullopt: none does.
std::optional<ChatFormat> detect_format(const JinjaChat& jinja, const std::string& bos, const std::string& eos, std::optional<bool> enable_thinking);

}  // namespace nibble::data
