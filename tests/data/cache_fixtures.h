// A small cache file with every section filled, as bytes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/cache_file.h"
#include "data/dataset_stats.h"
#include "data/parts.h"
#include "tests/support/temporary_folder.h"

namespace nibble::data {

inline const std::string kFixtureKey(32, 'k');
inline constexpr int64_t kFixtureFiles = 2, kFixtureVocab = 300;

// Nine documents of two files, of which two are held out.
inline std::string fixture_cache(const std::filesystem::path& path) {
  std::vector<int32_t> words;
  std::vector<DocumentRecord> records;
  std::vector<uint64_t> used;
  for (int32_t d = 0; d < 9; ++d) {
    Sample sample;
    for (int32_t t = 0; t < 3 + 11 * d; ++t) {
      sample.ids.push_back((d * 37 + t) % static_cast<int32_t>(kFixtureVocab));
      sample.labels.push_back(t % 3 == 0 ? kIgnoredLabel : sample.ids.back());
    }
    const size_t first = words.size();
    append_document(sample.ids, sample.labels, words);
    records.push_back(record_of(std::span(words).subspan(first), static_cast<int64_t>(sample.ids.size()), static_cast<int64_t>(first)));
    records.back().file = d % 2;
    records.back().line = 10 + d;
    mark_used(sample.ids, used);
  }
  PartRules rules;
  rules.validation_split_ratio = 0.25;
  rules.capacity = 128;
  const auto parts = make_parts(records, rules);
  RowFindings found;
  found.counts.format = "text";
  found.counts.hash = std::string(32, 'h');
  found.counts.examples = 11;
  found.count_length(7);
  found.tell(FindingKind::kTruncated, {1, 12}, "cut");
  CacheWriter writer(path, kFixtureKey);
  writer.section(CacheSection::kWords, std::span<const int32_t>(words));
  writer.section(CacheSection::kRecords, std::span<const DocumentRecord>(records));
  writer.section(CacheSection::kUsedIds, std::span<const uint64_t>(used));
  writer.section(CacheSection::kDocuments0, std::span<const int64_t>(parts[0].documents));
  writer.section(CacheSection::kRows0, std::span<const RowRecord>(parts[0].rows));
  writer.section(CacheSection::kRowDocuments0, std::span<const int64_t>(parts[0].row_documents));
  writer.section(CacheSection::kDocuments1, std::span<const int64_t>(parts[1].documents));
  writer.section(CacheSection::kRows1, std::span<const RowRecord>(parts[1].rows));
  writer.section(CacheSection::kRowDocuments1, std::span<const int64_t>(parts[1].row_documents));
  const std::string stats = stats_json(found, {{{0, 3}, {1, 4}}});
  writer.section(CacheSection::kStats, std::span<const char>(stats));
  writer.finish();
  return test::file_bytes(path);
}

}  // namespace nibble::data
