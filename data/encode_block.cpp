#include "data/encode_block.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/error.h"

namespace nibble::data {
namespace {

bool has_trained_token(const Sample& sample) {
  return sample.labels.size() > 1 && std::any_of(sample.labels.begin() + 1, sample.labels.end(), [](int32_t label) { return label != kIgnoredLabel; });
}

class BlockEncoder {
 public:
  BlockEncoder(const FileRules& rules, const Tokenizer& tokenizer) : rules_(rules), tokenizer_(tokenizer) {}

  EncodedBlock take() { return std::move(out_); }

  // false: one bad row too many.
  bool add(const Row& row) {
    ++out_.found.counts.examples;
    Sample sample;
    try {
      sample = encode(row);
    } catch (const DataError& error) {
      if (rules_.options.max_bad_rows == 0) throw;
      ++out_.found.counts.bad_rows;
      out_.bad_rows.push_back({row.line, error.message()});
      out_.found.tell(FindingKind::kBadRow, spot(row), fmt::format("{}: left out", error.message()));
      return static_cast<int64_t>(out_.bad_rows.size()) <= rules_.options.max_bad_rows;
    }
    if (!keep(row, sample)) return true;
    for (RowWarning& warning : sample.warnings) warn(row, std::move(warning));
    append(row, sample);
    return true;
  }

 private:
  RowSpot spot(const Row& row) const { return {rules_.file_index, row.line}; }

  Sample encode(const Row& row) const {
    const RowPlace place{rules_.file, row.line, rules_.counts_rows};
    try {
      const auto json = parse_row(row, place);
      return encode_row(read_row(rules_.shape, json, place, tokenizer_.vocab_size()), rules_.encode, tokenizer_);
    } catch (const DataError& error) {
      // What the tokenizer or the template refuses does not know its place.
      if (error.place().file.empty()) place.fail("", error.message());
      throw;
    }
  }

  // Cuts what is too long where that is wanted. false: the document is left out.
  bool keep(const Row& row, Sample& sample) {
    const DataOptions& options = rules_.options;
    const auto length = static_cast<int64_t>(sample.ids.size());
    const bool cut = length > options.max_length;
    out_.found.count_length(length);
    if (cut) {
      switch (options.truncation) {
        case Truncation::kRaise:
          if (out_.too_long++ == 0) out_.first_too_long = {FindingKind::kTooLong, spot(row), fmt::format("{}", length)};
          return false;
        case Truncation::kDrop:
          ++out_.found.counts.dropped_long;
          out_.found.tell(FindingKind::kTooLong, spot(row), fmt::format("{} tokens, longer than max_length = {}: left out", length, options.max_length));
          return false;
        case Truncation::kTruncate:
          ++out_.found.counts.truncated;
          out_.found.tell(FindingKind::kTruncated, spot(row), fmt::format("{} tokens, longer than max_length = {}: cut at the end", length, options.max_length));
          sample.ids.resize(static_cast<size_t>(options.max_length));
          sample.labels.resize(static_cast<size_t>(options.max_length));
          break;
      }
    }
    if (has_trained_token(sample)) return true;
    ++out_.found.counts.dropped_untrained;
    out_.found.tell(FindingKind::kUntrained, spot(row), fmt::format("nothing to learn in this example ({}): left out",
                                                                    cut ? "the answer was cut off; raise max_length" : "no answer"));
    return false;
  }

  void warn(const Row& row, RowWarning&& warning) {
    DatasetStats& counts = out_.found.counts;
    switch (warning.kind) {
      case RowWarning::Kind::kSpecialText: return tell(counts.special_text, FindingKind::kSpecialText, row, std::move(warning.text));
      case RowWarning::Kind::kDoubledBos: return tell(counts.bos_dropped, FindingKind::kDoubledBos, row, std::move(warning.text));
      case RowWarning::Kind::kNoEndOfTurn: return tell(counts.no_end_of_turn, FindingKind::kNoEndOfTurn, row, std::move(warning.text));
      case RowWarning::Kind::kLeftOut: return tell(counts.left_out, FindingKind::kLeftOut, row, std::move(warning.text));
      case RowWarning::Kind::kEosMasked: return tell(counts.eos_masked, FindingKind::kEosMasked, row, std::move(warning.text));
    }
  }
  void tell(int64_t& count, FindingKind kind, const Row& row, std::string text) {
    ++count;
    out_.found.tell(kind, spot(row), std::move(text));
  }

  void append(const Row& row, const Sample& sample) {
    const size_t first = out_.words.size();
    append_document(sample.ids, sample.labels, out_.words);
    DocumentRecord record = record_of(std::span(out_.words).subspan(first), static_cast<int64_t>(sample.ids.size()), static_cast<int64_t>(first));
    record.line = row.line;
    record.file = rules_.file_index;
    out_.records.push_back(record);
    audit(sample);
  }

  // How the document begins and ends.
  void audit(const Sample& sample) {
    DatasetStats& counts = out_.found.counts;
    const int32_t bos = tokenizer_.bos_id();
    if (bos >= 0 && sample.ids.front() == bos) {
      ++counts.begin_with_bos;
      if (sample.ids.size() > 1 && sample.ids[1] == bos) ++counts.doubled_bos;
    }
    for (size_t i = sample.labels.size(); i > 0; --i) {
      const int32_t label = sample.labels[i - 1];
      if (label == kIgnoredLabel) continue;
      if (label == tokenizer_.eos_id() || tokenizer_.is_special(label)) ++counts.end_with_eos;
      break;
    }
  }

  const FileRules& rules_;
  const Tokenizer& tokenizer_;
  EncodedBlock out_;
};

}  // namespace

EncodedBlock encode_block(const RowBlock& block, const FileRules& rules, const Tokenizer& tokenizer) {
  BlockEncoder encoder(rules, tokenizer);
  for (const Row& row : block.rows) {
    if (!encoder.add(row)) break;
  }
  return encoder.take();
}

}  // namespace nibble::data
