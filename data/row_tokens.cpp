#include "data/row_tokens.h"

#include <fmt/core.h>

#include "data/row_value.h"
#include "data/sample.h"

namespace nibble::data {

PretokenizedRow read_pretokenized(const Json& row, const RowPlace& place, int64_t vocab_size) {
  const auto ids = integers_at(row, "input_ids", 0, vocab_size - 1, place);
  if (ids.empty()) place.fail("input_ids", "is empty");
  const auto same_length = [&](const char* key, const std::vector<int64_t>& values) {
    if (values.size() != ids.size()) place.fail(key, fmt::format("has {} entries, input_ids has {}", values.size(), ids.size()));
  };
  PretokenizedRow out;
  out.has_labels = find_value(row, "labels") != nullptr;
  std::vector<int64_t> labels = ids, mask(ids.size(), 1);
  if (out.has_labels) {
    labels = integers_at(row, "labels", kIgnoredLabel, vocab_size - 1, place);
    same_length("labels", labels);
  }
  if (find_value(row, "attention_mask") != nullptr) {
    mask = integers_at(row, "attention_mask", 0, 1, place);
    same_length("attention_mask", mask);
  }
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

}  // namespace nibble::data
