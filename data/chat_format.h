// A chat format as data: what stands around each message. The built-in ones are those that model makers published; a
// user's own is made of the role prefixes and suffixes of the configuration. One renderer (render_turns.h) writes them all.
//
// An answer in the text:   answer_header | answer_lead content answer_tail end_of_turn | answer_footer
//                          not learned   | learned                                     | not learned
//
// "{bos}" and "{eos}" in a built-in format stand for the tokenizer's tokens until bind_tokens puts them there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "schema/enums.h"

namespace nibble::data {

// Where the text of a system message goes.
enum class SystemPlace : uint8_t {
  kInFront,    // a turn of its own, or plain text, in front of everything; default_system where there is no such message
  kFirstUser,  // into the first turn of the user, in front of its text
  kLastUser,   // into the turn of the user that ends the conversation; with an answer behind it nowhere (Mistral's rule)
  kGathered,   // all system messages, wherever they are, in front, joined by an empty line
  kRefused,
};

// A message of a role that the format does not know.
enum class OtherRole : uint8_t { kNamed, kLeftOut, kRefused };

enum class TurnOrder : uint8_t { kFree, kAlternating };  // kAlternating: user, assistant, user, ... behind the system message
enum class TrimContent : uint8_t { kNone, kAnswers, kAll };  // white space around contents, as Python's str.strip()

// What becomes of <think>...</think> in answers.
enum class Thinking : uint8_t {
  kText,     // it is text
  kQwen3,    // answers behind the last question get a block, an empty one too; earlier ones lose theirs
  kDropped,  // every answer loses its block (DeepSeek-R1)
};

struct ChatFormat {
  std::string name;
  std::string opening;                            // in front of everything
  SystemPlace system_place = SystemPlace::kInFront;
  std::string system_header, system_footer;       // around a system message, inside the user's turn where its place is there
  std::optional<std::string> default_system = std::nullopt;
  // Of a system message that is not the first; nullopt: its role is then one that the format does not know.
  std::optional<std::string> later_system_header = std::nullopt;
  std::string user_header, user_footer;
  std::string answer_header;
  std::string answer_lead, answer_tail;           // what the model writes around the content
  std::string end_of_turn;                        // one token
  std::string answer_footer;
  std::string between;                            // behind an answer that another message follows
  std::string closing;                            // at the end of a text that asks for no answer
  std::string prompt_tail;                        // behind the header of an answer that is asked for, and only there
  OtherRole other_role = OtherRole::kRefused;
  std::string other_header, other_footer;         // kNamed: "{role}" stands for the role's name
  TurnOrder order = TurnOrder::kFree;
  TrimContent trim = TrimContent::kNone;
  Thinking thinking = Thinking::kText;
  bool stanford_alpaca = false;                   // alpaca rows get the wording of the paper
  bool bos_by_tokenizer = false;                  // {bos} is written only where the tokenizer itself puts it in front
  std::vector<std::string> tokens = {};           // that must be in the vocabulary, besides end_of_turn
};

// The published format, with its placeholders.
ChatFormat published_format(ChatTemplate choice);

// The format with the tokenizer's tokens in place of the placeholders; "" where there is no such token.
ChatFormat bind_tokens(ChatFormat format, const std::string& bos, const std::string& eos);

// What tells two formats apart, for caches.
std::string fingerprint(const ChatFormat& format);

}  // namespace nibble::data
