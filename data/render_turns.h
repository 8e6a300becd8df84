// A conversation written in a chat format (chat_format.h), turn by turn.
#pragma once

#include <optional>

#include "data/chat_format.h"
#include "data/conversation.h"
#include "data/rendering.h"

namespace nibble::data {

// add_generation_prompt: ends with the header of an answer. enable_thinking: of formats that can think; false asks for an
// answer behind an empty thought.
// REQUIRES a format whose tokens are bound.
// THROWS DataError where the format has no place for a message: its role, the order of roles, a system message, tools, a
// thought beside the content.
Rendering render_turns(const ChatFormat& format, const Conversation& conversation, bool add_generation_prompt,
                       std::optional<bool> enable_thinking);

}  // namespace nibble::data
