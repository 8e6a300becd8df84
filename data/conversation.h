// What a row says where it is a conversation: the messages as the file gives them, before any template.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace nibble::data {

struct Message {
  std::string role;     // system, user, assistant, tool
  std::string content;
  std::optional<bool> train = std::nullopt;  // the row's own word on whether an answer is learned
  // What else the message carries, by its own keys in their order (tool_calls, name, reasoning_content, ...); an object.
  nlohmann::ordered_json fields = nlohmann::ordered_json::object();
};

struct Conversation {
  std::vector<Message> messages;
  nlohmann::ordered_json tools = nullptr;  // a list of the tools' schemas, or null
};

}  // namespace nibble::data
