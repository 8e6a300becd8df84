#include "data/row_schema.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "data/row_messages.h"
#include "data/row_tokens.h"
#include "data/row_value.h"

namespace nibble::data {
namespace {

// A schema, the name of the field that rows of it are known by, and what they must have beside it.
struct SchemaKeys {
  RowSchema schema;
  const char* name;
  const char* known_by;               // its usual name
  std::string FieldNames::*own_name;  // where the configuration may name it otherwise; nullptr: nowhere
  std::string FieldNames::*required;  // nullptr: nothing more
  const char* required_key;           // of the configuration, which may name it otherwise
};

// In the order in which they are tried.
constexpr SchemaKeys kSchemas[] = {
    {RowSchema::kPretokenized, "pretokenized", "input_ids", nullptr, nullptr, ""},
    {RowSchema::kMessages, "messages", "messages", &FieldNames::messages, nullptr, ""},
    {RowSchema::kShareGpt, "sharegpt", "conversations", nullptr, nullptr, ""},
    {RowSchema::kSegments, "segments", "segments", nullptr, nullptr, ""},
    {RowSchema::kAlpaca, "alpaca", "instruction", &FieldNames::instruction, &FieldNames::output, "dataset_output_field"},
    {RowSchema::kPromptCompletion, "prompt-completion", "prompt", &FieldNames::prompt, &FieldNames::completion, "dataset_completion_field"},
    {RowSchema::kText, "text", "text", &FieldNames::text, nullptr, ""},
};

const SchemaKeys& keys_of(RowSchema schema) {
  return *std::find_if(std::begin(kSchemas), std::end(kSchemas), [&](const SchemaKeys& keys) { return keys.schema == schema; });
}

const std::string& own_name(const SchemaKeys& keys, const FieldNames& names) {
  static const std::string none;
  return keys.own_name == nullptr ? none : names.*keys.own_name;
}

std::optional<RowSchema> detect(const Json& row, const FieldNames& names) {
  for (const SchemaKeys& keys : kSchemas) {
    if (const std::string& own = own_name(keys, names); !own.empty() && row.contains(own)) return keys.schema;
  }
  for (const SchemaKeys& keys : kSchemas) {
    if (row.contains(keys.known_by)) return keys.schema;
  }
  return std::nullopt;
}

// Of messages and ShareGPT: both lists are found with both kinds of messages in them, so the first message decides.
RowSchema schema_of_messages(const Json& list, RowSchema usual, const FieldNames& names) {
  if (!list.is_array() || list.empty() || !list[0].is_object()) return usual;
  if (!names.role.empty()) return usual;
  if (list[0].contains("role")) return RowSchema::kMessages;
  return list[0].contains("from") ? RowSchema::kShareGpt : usual;
}

// The names in use: the configuration's, else the usual ones.
FieldNames names_in_use(RowSchema schema, FieldNames names) {
  const auto usual = [](std::string& name, const char* usual_name) {
    if (name.empty()) name = usual_name;
  };
  const bool sharegpt = schema == RowSchema::kShareGpt;
  usual(names.text, "text");
  usual(names.messages, sharegpt ? "conversations" : "messages");
  usual(names.role, sharegpt ? "from" : "role");
  usual(names.content, sharegpt ? "value" : "content");
  usual(names.train, "train");
  usual(names.prompt, "prompt");
  usual(names.completion, "completion");
  usual(names.instruction, "instruction");
  usual(names.input, "input");
  usual(names.output, "output");
  usual(names.history, "history");
  usual(names.system, "system");
  usual(names.tools, "tools");
  return names;
}

std::optional<RowSchema> fixed_schema(DatasetFormat format) {
  switch (format) {
    case DatasetFormat::kAuto: return std::nullopt;
    case DatasetFormat::kAlpaca: return RowSchema::kAlpaca;
    case DatasetFormat::kText: return RowSchema::kText;
    case DatasetFormat::kPretokenized: return RowSchema::kPretokenized;
    case DatasetFormat::kMessages: return RowSchema::kMessages;
    case DatasetFormat::kShareGpt: return RowSchema::kShareGpt;
    case DatasetFormat::kPromptCompletion: return RowSchema::kPromptCompletion;
    case DatasetFormat::kSegments: return RowSchema::kSegments;
  }
  return std::nullopt;
}

[[noreturn]] void fail_unknown(const Json& row, const RowPlace& place) {
  if (row.contains("chosen") || row.contains("rejected")) {
    place.fail("", "has the fields of preference data (chosen, rejected), which nibble does not train on; to train on what was chosen, set "
                   "dataset_completion_field: chosen");
  }
  place.fail("", fmt::format("no known format has these keys ({}); known: text {{text}}, alpaca {{instruction, input, output}}, messages "
                             "{{messages}}, prompt-completion {{prompt, completion}}, sharegpt {{conversations}}, segments {{segments}}, "
                             "pretokenized {{input_ids}}; other names are told by dataset_text_field, dataset_messages_field, "
                             "dataset_prompt_field and dataset_completion_field, ...", keys_text(row)));
}

AlpacaRow read_alpaca(const Json& row, const FieldNames& names, const RowPlace& place) {
  AlpacaRow out;
  out.instruction = text_at(row, names.instruction, names.instruction, place);
  out.input = optional_text(row, names.input, names.input, place);
  out.output = text_at(row, names.output, names.output, place);
  out.system = optional_text(row, names.system, names.system, place);
  const Json* history = find_value(row, names.history);
  if (history == nullptr) return out;
  if (!history->is_array()) {
    place.fail(names.history, fmt::format("must be a list of [question, answer] pairs, found {}", type_text(*history)));
  }
  for (size_t i = 0; i < history->size(); ++i) {
    const Json& turn = (*history)[i];
    if (!turn.is_array() || turn.size() != 2 || !turn[0].is_string() || !turn[1].is_string()) {
      place.fail(fmt::format("{}[{}]", names.history, i), "must be a pair of strings [question, answer]");
    }
    out.history.emplace_back(turn[0].get<std::string>(), turn[1].get<std::string>());
  }
  return out;
}

MessagesRow read_conversation(const Json& row, const FieldNames& names, const RowPlace& place) {
  MessagesRow out;
  out.conversation.messages = read_messages(row, names.messages, names, place);
  put_system_in_front(optional_text(row, names.system, names.system, place), out.conversation.messages);
  out.conversation.tools = read_tools(row, names.tools, place);
  return out;
}

RowContent read_prompt_completion(const RowShape& shape, const Json& row, const RowPlace& place) {
  const FieldNames& names = shape.fields;
  if (!shape.has_messages) {
    return PromptCompletionRow{text_at(row, names.prompt, names.prompt, place), text_at(row, names.completion, names.completion, place)};
  }
  MessagesRow out;
  std::vector<Message>& messages = out.conversation.messages;
  messages = read_messages(row, names.prompt, names, place);
  put_system_in_front(optional_text(row, names.system, names.system, place), messages);
  out.completion = static_cast<int64_t>(messages.size());
  for (Message& message : read_messages(row, names.completion, names, place)) messages.push_back(std::move(message));
  out.conversation.tools = read_tools(row, names.tools, place);
  return out;
}

SegmentsRow read_segments(const Json& row, const RowPlace& place) {
  const Json& list = row.at("segments");
  if (!list.is_array()) place.fail("segments", fmt::format("must be a list of {{label, text}}, found {}", type_text(list)));
  if (list.empty()) place.fail("segments", "is empty");
  SegmentsRow out;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = fmt::format("segments[{}]", i);
    if (!list[i].is_object()) place.fail(at, fmt::format("must be an object with 'label' and 'text', found {}", type_text(list[i])));
    const auto label = list[i].find("label");
    if (label == list[i].end()) place.fail(at + ".label", "missing");
    if (!label->is_boolean()) place.fail(at + ".label", fmt::format("must be true (learned) or false, found {}", type_text(*label)));
    out.segments.push_back({text_at(list[i], "text", at + ".text", place), label->get<bool>()});
  }
  return out;
}

}  // namespace

std::string_view schema_name(RowSchema schema) { return keys_of(schema).name; }

RowShape choose_shape(DatasetFormat format, const FieldNames& names, const Json& first, const RowPlace& place) {
  RowShape shape;
  const auto fixed = fixed_schema(format);
  shape.first_line = fixed ? 0 : place.line;
  const auto found = fixed ? fixed : detect(first, names);
  if (!found) fail_unknown(first, place);
  shape.schema = *found;
  FieldNames wanted = names;
  if (shape.schema == RowSchema::kMessages || shape.schema == RowSchema::kShareGpt) {
    // Either list may hold either kind of messages, and a fixed format says which kind.
    const char* other = shape.schema == RowSchema::kMessages ? "conversations" : "messages";
    if (wanted.messages.empty()) wanted.messages = first.contains(keys_of(shape.schema).known_by) || !first.contains(other) ? keys_of(shape.schema).known_by : other;
    if (!fixed && first.contains(wanted.messages)) shape.schema = schema_of_messages(first.at(wanted.messages), shape.schema, names);
  }
  shape.fields = names_in_use(shape.schema, wanted);
  shape.has_messages = shape.schema == RowSchema::kPromptCompletion && first.contains(shape.fields.prompt) && first.at(shape.fields.prompt).is_array();
  return shape;
}

RowContent read_row(const RowShape& shape, const Json& row, const RowPlace& place, int64_t vocab_size) {
  const SchemaKeys& keys = keys_of(shape.schema);
  const FieldNames& names = shape.fields;
  const bool is_list = shape.schema == RowSchema::kMessages || shape.schema == RowSchema::kShareGpt;
  const std::string known_by = is_list ? names.messages : keys.own_name != nullptr ? names.*keys.own_name : keys.known_by;
  const std::string required = keys.required != nullptr ? names.*keys.required : known_by;
  for (const std::string& key : {known_by, required}) {
    if (row.contains(key)) continue;
    // Whether the row is of another shape is told without the configuration's names, which are this one's.
    const auto other = detect(row, {});
    if (other && *other != shape.schema && !row.contains(known_by)) {
      const std::string there = shape.first_line == 0 ? fmt::format("dataset_format is {}", keys.name)
                                                      : fmt::format("{} {} had those of {} (one schema a file)", place.counts_rows ? "row" : "line",
                                                                    shape.first_line, keys.name);
      place.fail("", fmt::format("has the fields of {}; {}", schema_name(*other), there));
    }
    place.fail(key, key == required && keys.required != nullptr ? fmt::format("missing (a field of another name is told by {})", keys.required_key) : "missing");
  }
  switch (shape.schema) {
    case RowSchema::kAlpaca: return read_alpaca(row, names, place);
    case RowSchema::kText: return TextRow{text_at(row, names.text, names.text, place)};
    case RowSchema::kPretokenized: return read_pretokenized(row, place, vocab_size);
    case RowSchema::kMessages:
    case RowSchema::kShareGpt: return read_conversation(row, names, place);
    case RowSchema::kPromptCompletion: return read_prompt_completion(shape, row, place);
    case RowSchema::kSegments: return read_segments(row, place);
  }
  throw std::logic_error("unknown row schema");
}

bool needs_template(const RowShape& shape) {
  switch (shape.schema) {
    case RowSchema::kAlpaca:
    case RowSchema::kMessages:
    case RowSchema::kShareGpt: return true;
    case RowSchema::kPromptCompletion: return shape.has_messages;
    case RowSchema::kText:
    case RowSchema::kPretokenized:
    case RowSchema::kSegments: return false;
  }
  return false;
}

}  // namespace nibble::data
