// The shapes of dataset rows (docs/data.md): which a file has, and what one row says.
//
// A new shape is one enumerator, one row in the table of row_schema.cpp and one function there.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "data/conversation.h"
#include "data/json_row.h"
#include "schema/enums.h"
#include "schema/field_names.h"

namespace nibble::data {

enum class RowSchema : uint8_t { kAlpaca, kText, kPretokenized, kMessages, kPromptCompletion, kShareGpt, kSegments };

std::string_view schema_name(RowSchema schema);  // "alpaca", "text", ...: the names of dataset_format

// What is the same for all rows of a file.
struct RowShape {
  RowSchema schema = RowSchema::kText;
  FieldNames fields;           // the names in use, none of them ""; roles only where the file has its own
  bool has_messages = false;   // kPromptCompletion: prompt and completion are lists of messages
  int64_t first_line = 0;      // where the shape was seen, for the message about a row of another one; 0: dataset_format says it
};

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
  bool has_labels = false;    // the row said which tokens are learned
};
// messages, ShareGPT, and prompt-completion with lists of messages.
struct MessagesRow {
  Conversation conversation;
  int64_t completion = -1;    // index of the completion's first message; -1: there is no prompt
};
struct PromptCompletionRow {
  std::string prompt, completion;
};
// {"segments": [{"label": true, "text": "..."}, ...]}
struct SegmentsRow {
  struct Segment {
    std::string text;
    bool label = false;
  };
  std::vector<Segment> segments;
};
using RowContent = std::variant<AlpacaRow, TextRow, PretokenizedRow, MessagesRow, PromptCompletionRow, SegmentsRow>;

// The shape of a file, from its first row: what the configuration says, and what the row's keys tell. names: the
// configuration's; a schema whose own field is named there is tried first.
// THROWS DataError where no schema fits.
RowShape choose_shape(DatasetFormat format, const FieldNames& names, const Json& first, const RowPlace& place);

// What a row says. THROWS DataError with the field, as the file calls it.
RowContent read_row(const RowShape& shape, const Json& row, const RowPlace& place, int64_t vocab_size);

// Whether rows of this shape are rendered by a chat template.
bool needs_template(const RowShape& shape);

}  // namespace nibble::data
