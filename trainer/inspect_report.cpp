#include "trainer/inspect_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "trainer/run_data.h"

namespace nibble::trainer {
namespace {

constexpr std::string_view kGreen = "\x1b[32m", kDim = "\x1b[2m", kBold = "\x1b[1m", kReset = "\x1b[0m";

std::string painted(std::string_view colour, const std::string& text, const TextStyle& style) {
  return style.colour ? fmt::format("{}{}{}", colour, text, kReset) : text;
}

// Every line of a run behind a mark that says what it is, so that it is told without colours too.
std::string run_text(const TokenRun& run, const TextStyle& style) {
  const std::string_view colour = run.trained ? kGreen : kDim;
  std::string_view mark = run.trained ? "    trained | " : "    masked  | ";
  std::string text = visible_text(run.text()), out;
  // A break at the end ends the line that it stands on.
  if (text.ends_with('\n')) text.pop_back();
  for (size_t at = 0;;) {
    const size_t end = std::min(text.find('\n', at), text.size());
    out += std::string(mark) + painted(colour, text.substr(at, end - at), style) + "\n";
    if (end == text.size()) break;
    at = end + 1;
    mark = "            | ";
  }
  return out;
}

std::string document_text(const InspectedDocument& document, const TextStyle& style) {
  std::string out = painted(kBold, fmt::format("  document {}  {}", document.index, document.place), style) +
                    fmt::format("  {} tokens, {} trained\n", document.ids.size(), document.trained);
  for (const TokenRun& run : document.runs) {
    out += run_text(run, style);
    if (!style.with_ids) continue;
    const TokenPiece &first = run.pieces.front(), &last = run.pieces.back();
    out += fmt::format("        ids | {}\n", fmt::join(document.ids.begin() + first.first, document.ids.begin() + last.first + last.count, " "));
  }
  return out;
}

std::string lengths_text(const std::vector<LengthBin>& bins) {
  constexpr double kBar = 40;
  std::string out = "lengths, before max_length counts:\n";
  int64_t most = 1;
  for (const LengthBin& bin : bins) most = std::max(most, bin.documents);
  for (const LengthBin& bin : bins) {
    const auto filled = static_cast<size_t>(std::ceil(kBar * static_cast<double>(bin.documents) / static_cast<double>(most)));
    out += fmt::format("  {:>7} to {:<7} tokens {:>9}  {}\n", bin.from, bin.to, bin.documents, std::string(filled, '#'));
  }
  return out;
}

}  // namespace

std::vector<std::string> audit_lines(const data::DatasetStats& s) {
  std::vector<std::string> lines;
  lines.push_back(fmt::format("ends: {} documents end with a trained EOS or end of turn, {} do not; {} begin with BOS, {} with two", s.end_with_eos,
                              s.no_end_of_turn, s.begin_with_bos, s.doubled_bos));
  if (s.bos_dropped > 0) lines.push_back(fmt::format("BOS: in {} documents a second one was taken out", s.bos_dropped));
  if (s.eos_masked > 0) lines.push_back(fmt::format("EOS: masked in {} documents, which therefore do not teach to stop", s.eos_masked));
  if (s.special_text > 0) lines.push_back(fmt::format("names of special tokens: in the text of {} documents, read as characters", s.special_text));
  return lines;
}

std::vector<InspectedRow> inspect_rows(const data::Dataset& dataset, int64_t first, int64_t count, const data::Tokenizer& tokenizer) {
  std::vector<InspectedRow> rows;
  for (int64_t r = first; r < dataset.rows() && r - first < count; ++r) {
    InspectedRow row{r, {}, dataset.row_tokens(r), dataset.row_trained(r)};
    for (const int64_t d : dataset.row(r)) {
      data::Sample sample = dataset.sample(d);
      InspectedDocument document{d, dataset.place(d), std::move(sample.ids), std::move(sample.labels), {}, dataset.trained(d)};
      document.runs = token_runs(token_pieces(document.ids, document.labels, tokenizer));
      row.documents.push_back(std::move(document));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string inspect_text(const InspectReport& report, const TextStyle& style) {
  std::string out;
  for (const InspectedRow& row : report.rows) {
    out += painted(kBold, fmt::format("row {}", row.index), style) +
           fmt::format("  {} document{}, {} of {} tokens, {} trained\n", row.documents.size(), row.documents.size() == 1 ? "" : "s", row.tokens,
                       report.capacity, row.trained);
    for (const InspectedDocument& document : row.documents) out += document_text(document, style);
    out += "\n";
  }
  for (const std::string& line : report.summary) out += line + "\n";
  for (const std::string& line : audit_lines(report.stats)) out += line + "\n";
  return out + lengths_text(length_bins(report.stats));
}

std::string inspect_json(const InspectReport& report) {
  using Json = nlohmann::ordered_json;
  Json rows = Json::array();
  for (const InspectedRow& row : report.rows) {
    Json ids = Json::array(), labels = Json::array(), documents = Json::array();
    for (const InspectedDocument& d : row.documents) {
      documents.push_back({{"index", d.index}, {"place", d.place}, {"start", ids.size()}, {"tokens", d.ids.size()}, {"trained_tokens", d.trained}});
      for (size_t i = 0; i < d.ids.size(); ++i) {
        ids.push_back(d.ids[i]);
        labels.push_back(i == 0 ? data::kIgnoredLabel : d.labels[i]);
      }
    }
    rows.push_back({{"input_ids", std::move(ids)}, {"labels", std::move(labels)}, {"documents", std::move(documents)}});
  }
  const Json out{{"split", report.split}, {"rows", std::move(rows)}, {"stats", dataset_json(report.stats)}, {"summary", report.summary}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace nibble::trainer
