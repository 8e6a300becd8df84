#include "data/dataset_stats.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace nibble::data {
namespace {

RowFindings some(int64_t examples, int64_t length, const char* text) {
  RowFindings found;
  found.counts.examples = examples;
  found.counts.end_with_eos = 1;
  found.count_length(length);
  found.tell(FindingKind::kTooLong, {0, examples}, text);
  return found;
}

TEST(RowFindings, AddUpInOrder) {
  RowFindings all = some(3, 9, "a");
  all.add(some(4, 1, "b"));
  all.add(some(5, 4, "c"));
  EXPECT_EQ(all.counts.examples, 12);
  EXPECT_EQ(all.counts.end_with_eos, 3);
  EXPECT_EQ(all.counts.longest, 9) << "not the sum";
  EXPECT_EQ(all.counts.lengths, (std::vector<int64_t>{1, 0, 1, 1}));
  ASSERT_EQ(all.findings.size(), 3u);
  EXPECT_EQ(all.findings[2].text, "c");
}

TEST(RowFindings, KeepTheFirstFewOfEachKind) {
  RowFindings all;
  for (int i = 0; i < 20; ++i) all.add(some(1, 1, std::to_string(i).c_str()));
  all.tell(FindingKind::kBadRow, {0, 1}, "another kind");
  ASSERT_EQ(all.findings.size(), 6u);
  EXPECT_EQ(all.findings[4].text, "4");
  EXPECT_EQ(all.findings[5].text, "another kind");
}

TEST(Stats, ReadBackWithTheFilesNamesOfNow) {
  RowFindings rows = some(3, 9, "caf\xC3\xA9 \xFF \"quoted\"");
  rows.counts.format = "text+alpaca";
  rows.counts.template_name = "chatml";
  rows.counts.hash = "abc";
  rows.counts.duplicates = 7;
  const DatasetStats stats = read_stats(stats_json(rows, {{{0, 4}, {1, 5}}}), {"x", "y"});
  EXPECT_EQ(stats.format, "text+alpaca");
  EXPECT_EQ(stats.template_name, "chatml");
  EXPECT_EQ(stats.hash, "abc");
  EXPECT_EQ(stats.duplicates, 7);
  EXPECT_EQ(stats.longest, 9);
  EXPECT_EQ(stats.lengths, (std::vector<int64_t>{0, 0, 0, 1}));
  EXPECT_EQ(stats.warnings, (std::vector<std::string>{"x:3: caf\xC3\xA9 \xEF\xBF\xBD \"quoted\""}));
  EXPECT_EQ(stats.duplicate_places, (std::vector<std::string>{"y:5 is x:4 again"}));
}

TEST(Stats, DamagedOnesAreRefused) {
  const std::string good = stats_json(some(3, 9, "a"), {{{0, 4}, {0, 5}}});
  EXPECT_EQ(read_stats(good, {"x"}).examples, 3);
  EXPECT_THROW(read_stats(good, {}), FormatError) << "a file that is not there";
  for (size_t size = 0; size < good.size(); ++size) EXPECT_THROW(read_stats(good.substr(0, size), {"x"}), FormatError) << size;
  for (const char* wrong : {"[]", "7", "{}", "null"}) EXPECT_THROW(read_stats(wrong, {"x"}), FormatError) << wrong;
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  EXPECT_THROW(read_stats(with("\"examples\":3", "\"examples\":-3"), {"x"}), FormatError);
  EXPECT_THROW(read_stats(with("\"examples\":3", "\"examples\":3e300"), {"x"}), FormatError);
  EXPECT_THROW(read_stats(with("\"examples\":3", "\"examples\":\"3\""), {"x"}), FormatError);
  EXPECT_THROW(read_stats(with("[0,3,\"a\"]", "[0,3]"), {"x"}), FormatError);
  EXPECT_THROW(read_stats(with("[0,3,\"a\"]", "[18446744073709551615,3,\"a\"]"), {"x"}), FormatError);
  EXPECT_THROW(read_stats(with("[0,4,0,5]", "[0,4,0]"), {"x"}), FormatError);
}

}  // namespace
}  // namespace nibble::data
