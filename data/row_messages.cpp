#include "data/row_messages.h"

#include <fmt/core.h>

#include "data/row_tool_calls.h"

namespace nibble::data {
namespace {

constexpr const char* kToolCallRole = "function_call";  // ShareGPT: the content is a call

// One message and what is needed to read it.
struct MessageReader {
  const FieldNames& names;
  const RowPlace& place;
  const Json& source;
  const std::string& at;  // "messages[3]"

  [[noreturn]] void fail(const std::string& key, const std::string& message) const { place.fail(at + "." + key, message); }

  std::string role() const {
    const std::string said = text_at(source, names.role, at + "." + names.role, place);
    const auto is = [&](const std::string& own, std::initializer_list<const char*> known) {
      if (!own.empty() && said == own) return true;
      for (const char* name : known) {
        if (said == name) return true;
      }
      return false;
    };
    if (is(names.user_role, {"user", "human"})) return "user";
    if (is(names.assistant_role, {"assistant", "gpt", "model", "chatgpt"})) return "assistant";
    if (is(names.system_role, {"system", "developer"})) return "system";
    if (is(names.tool_role, {"tool", "observation", "function", "ipython"})) return "tool";
    if (said == kToolCallRole) return kToolCallRole;
    fail(names.role, fmt::format("unknown role '{}' (known: system, user, assistant, tool; a role of another name is named by "
                                 "dataset_user_role, dataset_assistant_role, dataset_system_role or dataset_tool_role)", shortened(said)));
  }

  std::string content(bool may_be_missing) const {
    const auto found = source.find(names.content);
    if (found == source.end() || found->is_null()) {
      if (may_be_missing) return "";
      if (found == source.end()) fail(names.content, "missing");
    }
    if (!found->is_array()) return text_at(source, names.content, at + "." + names.content, place);
    std::string text;
    for (size_t i = 0; i < found->size(); ++i) {
      const Json& part = (*found)[i];
      const std::string field = fmt::format("{}[{}]", names.content, i);
      if (!part.is_object()) fail(field, fmt::format("must be an object {{\"type\": \"text\", \"text\": ...}}, found {}", type_text(part)));
      const std::string type = text_at(part, "type", at + "." + field + ".type", place);
      if (type != "text") fail(field + ".type", fmt::format("is '{}': only text can be trained on; leave such rows out", shortened(type)));
      text += text_at(part, "text", at + "." + field + ".text", place);
    }
    return text;
  }

  std::optional<bool> train() const {
    std::optional<bool> said;
    if (const Json* flag = find_value(source, names.train)) {
      if (!flag->is_boolean()) fail(names.train, fmt::format("must be true or false, found {}", type_text(*flag)));
      said = flag->get<bool>();
    }
    if (const Json* weight = find_value(source, "weight")) {
      const bool is_flag = weight->is_number() && (weight->get<double>() == 0 || weight->get<double>() == 1);
      if (!is_flag) fail("weight", fmt::format("must be 0 or 1 (whether the answer is learned), found {}", shortened(weight->dump(-1, ' ', true))));
      const bool learned = weight->get<double>() == 1;
      if (said && *said != learned) fail("weight", fmt::format("says other than {}", names.train));
      said = learned;
    }
    return said;
  }

  Message read() const {
    Message message;
    message.role = role();
    if (message.role == kToolCallRole) {
      message.role = "assistant";
      message.fields["tool_calls"] = tool_calls_of_text(text_at(source, names.content, at + "." + names.content, place), at + "." + names.content, place);
    } else {
      // The older form of OpenAI's API has a single call.
      const Json* calls = find_value(source, "tool_calls");
      const Json* call = find_value(source, "function_call");
      const bool has_calls = message.role == "assistant" && (calls != nullptr || call != nullptr);
      message.content = content(has_calls);
      if (has_calls && calls != nullptr) {
        message.fields["tool_calls"] = checked_tool_calls(*calls, at + ".tool_calls", place);
      } else if (has_calls) {
        message.fields["tool_calls"] = Json::array({{{"type", "function"}, {"function", checked_function(*call, at + ".function_call", place)}}});
      }
      if (message.fields.contains("tool_calls") && message.fields["tool_calls"].empty()) message.fields.erase("tool_calls");
    }
    message.train = train();
    if (message.train.value_or(false) && message.role != "assistant") {
      fail(names.train, fmt::format("a message of role {} cannot be trained on, only answers of the assistant; assistant_only_loss: false "
                                    "trains on everything", message.role));
    }
    for (const auto& [key, value] : source.items()) {
      const bool is_read = key == names.role || key == names.content || key == names.train || key == "weight" || key == "tool_calls" || key == "function_call";
      if (!is_read && !value.is_null()) message.fields[key] = value;
    }
    return message;
  }
};

}  // namespace

std::vector<Message> read_messages(const Json& row, const std::string& key, const FieldNames& names, const RowPlace& place) {
  const auto list = row.find(key);
  if (list == row.end()) place.fail(key, "missing");
  if (!list->is_array()) place.fail(key, fmt::format("must be a list of messages, found {}", type_text(*list)));
  if (list->empty()) place.fail(key, "is empty: a conversation needs a message");
  std::vector<Message> messages;
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& source = (*list)[i];
    const std::string at = fmt::format("{}[{}]", key, i);
    if (!source.is_object()) {
      place.fail(at, fmt::format("must be an object with '{}' and '{}', found {}", names.role, names.content, type_text(source)));
    }
    messages.push_back(MessageReader{names, place, source, at}.read());
  }
  return messages;
}

Json read_tools(const Json& row, const std::string& key, const RowPlace& place) {
  const Json* found = find_value(row, key);
  if (found == nullptr || (found->is_string() && found->get_ref<const std::string&>().empty())) return nullptr;
  const Json tools = found->is_string() ? parse_json_string(found->get_ref<const std::string&>(), key, place) : *found;
  if (!tools.is_array()) place.fail(key, fmt::format("must be a list of tools, or a JSON string of one, found {}", type_text(tools)));
  for (size_t i = 0; i < tools.size(); ++i) {
    if (!tools[i].is_object()) place.fail(fmt::format("{}[{}]", key, i), fmt::format("must be an object, found {}", type_text(tools[i])));
  }
  return tools.empty() ? Json() : tools;
}

void put_system_in_front(const std::string& system, std::vector<Message>& messages) {
  if (system.empty()) return;
  if (!messages.empty() && messages.front().role == "system" && messages.front().content == system) return;
  messages.insert(messages.begin(), Message{"system", system});
}

}  // namespace nibble::data
