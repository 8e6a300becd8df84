#include "data/row_schema.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "data/sample.h"

namespace nibble::data {
namespace {

using nlohmann::json;

struct SchemaKeys {
  RowSchema schema;
  const char* name;
  std::vector<const char*> required;  // the first one is what a row of this schema is known by
};

// In the order in which they are tried.
const std::vector<SchemaKeys>& schemas() {
  static const std::vector<SchemaKeys> table = {
      {RowSchema::kPretokenized, "pretokenized", {"input_ids"}},
      {RowSchema::kMessages, "messages", {"messages"}},
      {RowSchema::kShareGpt, "sharegpt", {"conversations"}},
      {RowSchema::kAlpaca, "alpaca", {"instruction", "output"}},
      {RowSchema::kPromptCompletion, "prompt-completion", {"prompt", "completion"}},
      {RowSchema::kText, "text", {"text"}},
  };
  return table;
}

std::optional<RowSchema> detect(const json& row) {
  for (const auto& entry : schemas()) {
    if (row.contains(entry.required.front())) return entry.schema;
  }
  return std::nullopt;
}

std::string keys_text(const json& row) {
  std::string keys;
  for (const auto& [key, value] : row.items()) {
    if (keys.size() > 200) return keys + ", ...";
    keys += (keys.empty() ? "" : ", ") + key;
  }
  return keys.empty() ? "none" : keys;
}

std::string text_at(const json& row, const char* key, const RowPlace& place, const std::string& field) {
  const auto found = row.find(key);
  if (found == row.end()) place.fail(field, "missing");
  if (!found->is_string()) place.fail(field, fmt::format("must be a string, found {}", type_text(*found)));
  return found->get<std::string>();
}

// Missing and null mean empty.
std::string optional_text(const json& row, const char* key, const RowPlace& place) {
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return "";
  return text_at(row, key, place, key);
}

AlpacaRow read_alpaca(const json& row, const RowPlace& place) {
  AlpacaRow out;
  out.instruction = text_at(row, "instruction", place, "instruction");
  out.input = optional_text(row, "input", place);
  out.output = text_at(row, "output", place, "output");
  out.system = optional_text(row, "system", place);
  const auto history = row.find("history");
  if (history == row.end() || history->is_null()) return out;
  if (!history->is_array()) place.fail("history", fmt::format("must be a list of [question, answer] pairs, found {}", type_text(*history)));
  for (size_t i = 0; i < history->size(); ++i) {
    const json& turn = (*history)[i];
    if (!turn.is_array() || turn.size() != 2 || !turn[0].is_string() || !turn[1].is_string()) {
      place.fail(fmt::format("history[{}]", i), "must be a pair of strings [question, answer]");
    }
    out.history.emplace_back(turn[0].get<std::string>(), turn[1].get<std::string>());
  }
  return out;
}

std::string known_role(const std::string& role, const std::string& field, const RowPlace& place) {
  if (role == "human" || role == "user") return "user";
  if (role == "gpt" || role == "assistant" || role == "model") return "assistant";
  if (role == "system") return "system";
  if (role == "tool" || role == "observation" || role == "function") return "tool";
  place.fail(field, fmt::format("unknown role '{}' (known: system, user, assistant, tool)", role));
}

// A list of {role_key: ..., content_key: ...}.
std::vector<Message> read_turns(const json& row, const char* key, const char* role_key, const char* content_key, const RowPlace& place) {
  const json& list = row.at(key);
  if (!list.is_array()) place.fail(key, fmt::format("must be a list of messages, found {}", type_text(list)));
  if (list.empty()) place.fail(key, "is empty: a conversation needs a message");
  std::vector<Message> messages;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", key, i);
    if (!list[i].is_object()) place.fail(at, fmt::format("must be an object with '{}' and '{}', found {}", role_key, content_key, type_text(list[i])));
    if (list[i].contains("tool_calls") && !list[i]["tool_calls"].is_null()) {
      place.fail(at + ".tool_calls", "tool calls cannot be rendered by the built-in templates; leave such rows out");
    }
    Message message;
    message.role = known_role(text_at(list[i], role_key, place, at + "." + role_key), at + "." + role_key, place);
    message.content = text_at(list[i], content_key, place, at + "." + content_key);
    messages.push_back(std::move(message));
  }
  return messages;
}

std::vector<int64_t> read_integers(const json& row, const char* key, int64_t low, int64_t high, const RowPlace& place) {
  const json& list = row.at(key);
  if (!list.is_array()) place.fail(key, fmt::format("must be a list of integers, found {}", type_text(list)));
  std::vector<int64_t> values;
  values.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", key, i);
    if (!list[i].is_number_integer()) place.fail(at, fmt::format("must be an integer, found {}", list[i].dump(-1, ' ', true).substr(0, 40)));
    const bool huge = list[i].is_number_unsigned() && list[i].get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
    const int64_t value = huge ? INT64_MAX : list[i].get<int64_t>();
    if (value < low || value > high) place.fail(at, fmt::format("is {}, outside {}..{}", list[i].dump(), low, high));
    values.push_back(value);
  }
  return values;
}

PretokenizedRow read_pretokenized(const json& row, const RowPlace& place, int64_t vocab_size) {
  const auto given = [&](const char* key) { return row.contains(key) && !row.at(key).is_null(); };
  const auto ids = read_integers(row, "input_ids", 0, vocab_size - 1, place);
  if (ids.empty()) place.fail("input_ids", "is empty");
  const auto same_length = [&](const char* key, const std::vector<int64_t>& values) {
    if (values.size() != ids.size()) place.fail(key, fmt::format("has {} entries, input_ids has {}", values.size(), ids.size()));
  };
  std::vector<int64_t> labels = ids, mask(ids.size(), 1);
  if (given("labels")) {
    labels = read_integers(row, "labels", kIgnoredLabel, vocab_size - 1, place);
    same_length("labels", labels);
  }
  if (given("attention_mask")) {
    mask = read_integers(row, "attention_mask", 0, 1, place);
    same_length("attention_mask", mask);
  }
  PretokenizedRow out;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (mask[i] == 0) continue;  // padding
    if (labels[i] != kIgnoredLabel && labels[i] != ids[i]) {
      place.fail(fmt::format("labels[{}]", i), fmt::format("is {}, but input_ids[{}] is {}: labels repeat the id or are {} (nibble "
                                                           "shifts them itself)", labels[i], i, ids[i], kIgnoredLabel));
    }
    out.ids.push_back(static_cast<int32_t>(ids[i]));
    out.labels.push_back(static_cast<int32_t>(labels[i]));
  }
  if (out.ids.empty()) place.fail("attention_mask", "masks every token");
  return out;
}

const SchemaKeys& keys_of(RowSchema schema) {
  return *std::find_if(schemas().begin(), schemas().end(), [&](const SchemaKeys& entry) { return entry.schema == schema; });
}

}  // namespace

std::string_view schema_name(RowSchema schema) { return keys_of(schema).name; }

RowSchema choose_schema(DatasetFormat format, const json& first, const RowPlace& place) {
  switch (format) {
    case DatasetFormat::kAlpaca: return RowSchema::kAlpaca;
    case DatasetFormat::kText: return RowSchema::kText;
    case DatasetFormat::kPretokenized: return RowSchema::kPretokenized;
    case DatasetFormat::kAuto: break;
  }
  if (const auto found = detect(first)) return *found;
  place.fail("", fmt::format("no known format has these keys ({}); known: text {{text}}, alpaca {{instruction, input, output}}, "
                             "messages {{messages}}, prompt-completion {{prompt, completion}}, sharegpt {{conversations}}, "
                             "pretokenized {{input_ids}}", keys_text(first)));
}

RowContent read_row(RowSchema schema, const json& row, const RowPlace& place, int64_t first_line, int64_t vocab_size) {
  const SchemaKeys& keys = keys_of(schema);
  for (const char* key : keys.required) {
    if (row.contains(key)) continue;
    const auto other = detect(row);
    if (other && *other != schema) {
      place.fail("", fmt::format("has the fields of {}; line {} had those of {} (one schema a file)", schema_name(*other), first_line, keys.name));
    }
    place.fail(key, "missing");
  }
  switch (schema) {
    case RowSchema::kAlpaca: return read_alpaca(row, place);
    case RowSchema::kText: return TextRow{text_at(row, "text", place, "text")};
    case RowSchema::kPretokenized: return read_pretokenized(row, place, vocab_size);
    case RowSchema::kMessages: return MessagesRow{{read_turns(row, "messages", "role", "content", place)}};
    case RowSchema::kPromptCompletion:
      return PromptCompletionRow{text_at(row, "prompt", place, "prompt"), text_at(row, "completion", place, "completion")};
    case RowSchema::kShareGpt: {
      MessagesRow out{{read_turns(row, "conversations", "from", "value", place)}};
      if (const std::string system = optional_text(row, "system", place); !system.empty()) {
        out.conversation.messages.insert(out.conversation.messages.begin(), Message{"system", system});
      }
      return out;
    }
  }
  throw std::logic_error("unknown row schema");
}

}  // namespace nibble::data
