#include "data/dataset_stats.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace nibble::data {
namespace {

using nlohmann::json;

// The counts that are stored, by name; those of an epoch come from the documents.
template <class Stats, class Visit>
void each_count(Stats& s, const Visit& visit) {
  visit("examples", s.examples);
  visit("bad_rows", s.bad_rows);
  visit("dropped_long", s.dropped_long);
  visit("dropped_untrained", s.dropped_untrained);
  visit("truncated", s.truncated);
  visit("duplicates", s.duplicates);
  visit("begin_with_bos", s.begin_with_bos);
  visit("doubled_bos", s.doubled_bos);
  visit("bos_dropped", s.bos_dropped);
  visit("end_with_eos", s.end_with_eos);
  visit("no_end_of_turn", s.no_end_of_turn);
  visit("eos_masked", s.eos_masked);
  visit("special_text", s.special_text);
  visit("left_out", s.left_out);
  visit("longest", s.longest);
}

[[noreturn]] void refuse(const char* what) { throw FormatError(fmt::format("its statistics are damaged: {}", what), ""); }

int64_t count_of(const json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{1} << 62) refuse("a count is none");
  return value.get<int64_t>();
}

std::string text_of(const json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_string()) refuse(key);
  return at->get<std::string>();
}

const json& list_of(const json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_array()) refuse(key);
  return *at;
}

// "FILE:LINE" of two entries of a list.
std::string place_at(const json& list, size_t at, const std::vector<std::string>& files) {
  if (list.size() < at + 2) refuse("a place is cut off");
  const auto file = static_cast<size_t>(count_of(list[at]));
  if (file >= files.size()) refuse("a place in a file that is not there");
  return Place{files[file], count_of(list[at + 1])}.text();
}

}  // namespace

void RowFindings::tell(FindingKind kind, RowSpot spot, std::string text) {
  if (told_[static_cast<size_t>(kind)]++ < kFindingsOfAKind) findings.push_back({kind, spot, std::move(text)});
}

void RowFindings::count_length(int64_t tokens) {
  counts.longest = std::max(counts.longest, tokens);
  const auto bucket = static_cast<size_t>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(tokens, 1)))) - 1;
  if (bucket >= counts.lengths.size()) counts.lengths.resize(bucket + 1);
  ++counts.lengths[bucket];
}

void RowFindings::add(RowFindings&& later) {
  const int64_t longest = std::max(counts.longest, later.counts.longest);
  std::vector<int64_t*> sums;
  each_count(counts, [&](const char*, int64_t& value) { sums.push_back(&value); });
  size_t at = 0;
  each_count(later.counts, [&](const char*, int64_t& value) { *sums[at++] += value; });
  counts.longest = longest;
  counts.lengths.resize(std::max(counts.lengths.size(), later.counts.lengths.size()));
  for (size_t b = 0; b < later.counts.lengths.size(); ++b) counts.lengths[b] += later.counts.lengths[b];
  for (Finding& finding : later.findings) tell(finding.kind, finding.spot, std::move(finding.text));
}

std::string stats_json(const RowFindings& rows, const std::vector<DuplicatePair>& duplicates) {
  json out;
  out["format"] = rows.counts.format;
  out["template"] = rows.counts.template_name;
  out["hash"] = rows.counts.hash;
  each_count(rows.counts, [&](const char* name, const int64_t& value) { out["counts"][name] = value; });
  out["lengths"] = rows.counts.lengths;
  out["findings"] = json::array();
  for (const Finding& f : rows.findings) out["findings"].push_back({f.spot.file, f.spot.line, f.text});
  out["duplicates"] = json::array();
  for (const DuplicatePair& d : duplicates) out["duplicates"].push_back({d.first.file, d.first.line, d.again.file, d.again.line});
  return out.dump(-1, ' ', true, json::error_handler_t::replace);
}

DatasetStats read_stats(std::string_view text, const std::vector<std::string>& files) {
  const json in = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!in.is_object()) refuse("they are no JSON object");
  DatasetStats stats;
  stats.format = text_of(in, "format");
  stats.template_name = text_of(in, "template");
  stats.hash = text_of(in, "hash");
  const auto counts = in.find("counts");
  if (counts == in.end() || !counts->is_object()) refuse("counts");
  each_count(stats, [&](const char* name, int64_t& value) {
    const auto at = counts->find(name);
    if (at == counts->end()) refuse(name);
    value = count_of(*at);
  });
  for (const json& count : list_of(in, "lengths")) stats.lengths.push_back(count_of(count));
  for (const json& f : list_of(in, "findings")) {
    if (!f.is_array() || f.size() != 3 || !f[2].is_string()) refuse("findings");
    stats.warnings.push_back(fmt::format("{}: {}", place_at(f, 0, files), f[2].get<std::string>()));
  }
  for (const json& d : list_of(in, "duplicates")) {
    if (!d.is_array() || d.size() != 4) refuse("duplicates");
    stats.duplicate_places.push_back(fmt::format("{} is {} again", place_at(d, 2, files), place_at(d, 0, files)));
  }
  return stats;
}

}  // namespace nibble::data
