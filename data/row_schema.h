// The shapes of dataset rows (FORMATS.md section 4): which a file has, and what one row says.
//
// A new shape is one enumerator, one row in the table of row_schema.cpp and one function there.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "data/conversation.h"
#include "data/json_row.h"
#include "schema/enums.h"

namespace nibble::data {

enum class RowSchema : uint8_t { kAlpaca, kText, kPretokenized, kMessages, kPromptCompletion, kShareGpt };

std::string_view schema_name(RowSchema schema);  // "alpaca", "text", ...

// {"instruction", "input"?, "output", "system"?, "history"?: [[user, assistant], ...]}
struct AlpacaRow {
  std::string instruction, input, output, system;
  std::vector<std::pair<std::string, std::string>> history;
};
struct TextRow {
  std::string text;
};
// {"input_ids", "labels"?, "attention_mask"?}; what the mask leaves out is gone, labels are there.
struct PretokenizedRow {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;
};
struct MessagesRow {
  Conversation conversation;  // of messages and ShareGPT rows
};
struct PromptCompletionRow {
  std::string prompt, completion;
};
using RowContent = std::variant<AlpacaRow, TextRow, PretokenizedRow, MessagesRow, PromptCompletionRow>;

// The schema of a file, from its first row: what the configuration says, or what the row's keys tell.
// THROWS DataError where no schema fits.
RowSchema choose_schema(DatasetFormat format, const nlohmann::json& first, const RowPlace& place);

// What a row says. first_line: where `schema` was seen, for the message about a row of another schema.
// THROWS DataError with the field.
RowContent read_row(RowSchema schema, const nlohmann::json& row, const RowPlace& place, int64_t first_line, int64_t vocab_size);

}  // namespace nibble::data
