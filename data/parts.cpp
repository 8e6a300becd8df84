#include "data/parts.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "data/packing.h"

namespace nibble::data {
namespace {

// A random choice of `count` of n, as flags.
std::vector<bool> choose(const RngKey& key, int64_t n, int64_t count) {
  std::vector<bool> chosen(static_cast<size_t>(n), false);
  const auto order = random_permutation(key, n);
  for (int64_t i = 0; i < count; ++i) chosen[static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
  return chosen;
}

std::vector<bool> held_out(int64_t n, const PartRules& rules) {
  if (rules.validation_split_ratio == 0) return std::vector<bool>(static_cast<size_t>(n), false);
  if (!(rules.validation_split_ratio > 0 && rules.validation_split_ratio < 1) || n < 2) {
    throw ConfigError(fmt::format("validation_split_ratio = {} of {} documents leaves training or validation without data", rules.validation_split_ratio, n));
  }
  const auto wanted = std::clamp<int64_t>(std::llround(rules.validation_split_ratio * static_cast<double>(n)), 1, n - 1);
  return choose({rules.seed, RngPurpose::kSplit, 0}, n, wanted);
}

// Each file's training documents, as often as the file weighs.
std::vector<int64_t> weighted(const std::vector<std::vector<int64_t>>& by_file, const PartRules& rules) {
  double most = 0;
  for (size_t f = 0; f < by_file.size(); ++f) most = std::max(most, rules.weights[f]);
  std::vector<int64_t> documents;
  for (int64_t round = 0; static_cast<double>(round) < most; ++round) {
    for (size_t f = 0; f < by_file.size(); ++f) {
      const double left = rules.weights[f] - static_cast<double>(round);
      if (left <= 0) continue;
      const auto n = static_cast<int64_t>(by_file[f].size());
      const int64_t count = left >= 1 ? n : std::llround(left * static_cast<double>(n));
      if (count == n) {
        documents.insert(documents.end(), by_file[f].begin(), by_file[f].end());
        continue;
      }
      const auto chosen = choose({rules.seed, RngPurpose::kFileWeight, f}, n, count);
      for (int64_t i = 0; i < n; ++i) {
        if (chosen[static_cast<size_t>(i)]) documents.push_back(by_file[f][static_cast<size_t>(i)]);
      }
    }
  }
  return documents;
}

PartArrays packed(std::vector<int64_t> documents, std::span<const DocumentRecord> records, const PartRules& rules) {
  PartArrays part;
  part.documents = std::move(documents);
  PackedRows rows;
  if (rules.packing) {
    std::vector<int32_t> lengths;
    lengths.reserve(part.documents.size());
    for (const int64_t d : part.documents) lengths.push_back(records[static_cast<size_t>(d)].length);
    rows = pack_rows(lengths, rules.capacity, rules.strategy);
  } else {
    rows = one_a_row(static_cast<int64_t>(part.documents.size()));
  }
  part.rows.reserve(rows.starts.size());
  for (int64_t r = 0; r < rows.rows(); ++r) {
    RowRecord row{rows.starts[static_cast<size_t>(r)], 0, 0};
    for (const int64_t d : rows.row(r)) {
      const DocumentRecord& record = records[static_cast<size_t>(part.documents[static_cast<size_t>(d)])];
      row.tokens += record.length;
      row.trained += record.trained;
    }
    part.rows.push_back(row);
  }
  part.rows.push_back({rows.starts.back(), 0, 0});
  part.row_documents = std::move(rows.documents);
  return part;
}

}  // namespace

std::array<PartArrays, kParts> make_parts(std::span<const DocumentRecord> records, const PartRules& rules) {
  const auto n = static_cast<int64_t>(records.size());
  const std::vector<bool> is_held_out = held_out(n, rules);
  std::vector<int64_t> train, validation;
  std::vector<std::vector<int64_t>> by_file(rules.weights.size());
  for (int64_t d = 0; d < n; ++d) {
    if (is_held_out[static_cast<size_t>(d)]) {
      validation.push_back(d);
    } else if (rules.weights.empty()) {
      train.push_back(d);
    } else {
      by_file[static_cast<size_t>(records[static_cast<size_t>(d)].file)].push_back(d);
    }
  }
  if (!rules.weights.empty()) train = weighted(by_file, rules);
  if (train.empty() && n > 0) throw ConfigError("train_file_weights leave nothing to train on: make one larger");
  std::array<PartArrays, kParts> parts;
  parts[static_cast<size_t>(Part::kTrain)] = packed(std::move(train), records, rules);
  if (!validation.empty()) parts[static_cast<size_t>(Part::kValidation)] = packed(std::move(validation), records, rules);
  return parts;
}

void count_part(const PartView& part, DatasetStats& stats) {
  stats.documents = static_cast<int64_t>(part.documents.size());
  stats.rows = part.rows.empty() ? 0 : static_cast<int64_t>(part.rows.size()) - 1;
  stats.tokens = stats.trained_tokens = 0;
  for (const RowRecord& row : part.rows) {
    stats.tokens += row.tokens;
    stats.trained_tokens += row.trained;
  }
}

}  // namespace nibble::data
