// The cache file: what is written is read back, and no damage is trusted. Units: data/cache_writer data/cache_file data/parts
#include "data/cache_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "core/error.h"
#include "data/cache_layout.h"
#include "data/cache_sections.h"
#include "data/dataset.h"
#include "tests/data/cache_fixtures.h"

namespace nibble::data {
namespace {

namespace fs = std::filesystem;
using test::put_file;
using test::TemporaryFolder;

class CacheFileTest : public testing::Test {
 protected:
  void SetUp() override { good_ = fixture_cache(path_); }

  // Why the file is refused; "" where it is taken.
  std::string refusal(const std::string& bytes, const std::string& key = kFixtureKey) const {
    fs::remove(path_);
    put_file(path_, bytes);
    return refusal_as_it_is(key);
  }
  std::string refusal_as_it_is(const std::string& key = kFixtureKey) const {
    try {
      open_cache_file(path_, key, kFixtureFiles, kFixtureVocab);
    } catch (const FormatError& error) {
      EXPECT_EQ(error.place().file, path_.string());
      return error.message();
    }
    return "";
  }
  SectionRecord section(CacheSection kind) const {
    CacheTrailer trailer;
    std::memcpy(&trailer, good_.data() + good_.size() - sizeof(trailer), sizeof(trailer));
    SectionRecord record;
    std::memcpy(&record, good_.data() + trailer.table_offset + static_cast<int64_t>(sizeof(record)) * (static_cast<int64_t>(kind) - 1), sizeof(record));
    return record;
  }
  // With a value changed and every checksum made right again: what only a check of the content finds.
  template <class T>
  std::string forged(CacheSection kind, int64_t at, T value) const {
    std::string bytes = good_;
    CacheTrailer trailer;
    std::memcpy(&trailer, bytes.data() + bytes.size() - sizeof(trailer), sizeof(trailer));
    const int64_t entry = trailer.table_offset + static_cast<int64_t>(sizeof(SectionRecord)) * (static_cast<int64_t>(kind) - 1);
    SectionRecord record;
    std::memcpy(&record, bytes.data() + entry, sizeof(record));
    std::memcpy(bytes.data() + record.offset + at, &value, sizeof(value));
    const std::string hash = xxh3_128(std::string_view(bytes).substr(static_cast<size_t>(record.offset), static_cast<size_t>(record.bytes)));
    std::memcpy(record.xxh3_128, hash.data(), sizeof(record.xxh3_128));
    std::memcpy(bytes.data() + entry, &record, sizeof(record));
    const std::string table = xxh3_128(std::string_view(bytes).substr(static_cast<size_t>(trailer.table_offset), sizeof(SectionRecord) * kCacheSections));
    std::memcpy(trailer.table_xxh3_128, table.data(), sizeof(trailer.table_xxh3_128));
    std::memcpy(bytes.data() + bytes.size() - sizeof(trailer), &trailer, sizeof(trailer));
    return bytes;
  }

  TemporaryFolder folder_;
  fs::path path_ = folder_ / "a.tokens";
  std::string good_;
};

TEST_F(CacheFileTest, GivesBackWhatWasWritten) {
  const auto cache = std::make_shared<CacheFile>(open_cache_file(path_, kFixtureKey, kFixtureFiles, kFixtureVocab));
  const std::vector<std::string> names{"one.jsonl", "two.jsonl"};
  const Dataset train(cache, cache->store, Part::kTrain, names, true), validation(cache, cache->store, Part::kValidation, names, true);
  EXPECT_EQ(train.documents(), 7);
  EXPECT_EQ(validation.documents(), 2);
  std::set<std::string> places;
  for (const Dataset* part : {&train, &validation}) {
    for (int64_t d = 0; d < part->documents(); ++d) {
      places.insert(part->place(d));
      const Sample sample = part->sample(d);
      for (size_t t = 0; t < sample.ids.size(); ++t) {
        EXPECT_EQ(sample.ids[t], (sample.ids[0] + static_cast<int32_t>(t)) % kFixtureVocab);
        EXPECT_EQ(sample.labels[t], t % 3 == 0 ? kIgnoredLabel : sample.ids[t]);
      }
    }
    part->release_pages();
    EXPECT_GE(part->ids(0)[1], 0) << "pages come back";
  }
  EXPECT_EQ(places.size(), 9u);
  EXPECT_TRUE(places.contains("two.jsonl:11"));
  const DatasetStats stats = read_stats(cache->store.stats, names);
  EXPECT_EQ(stats.format, "text");
  EXPECT_EQ(stats.examples, 11);
  EXPECT_EQ(stats.warnings, (std::vector<std::string>{"two.jsonl:12: cut"}));
  EXPECT_EQ(stats.duplicate_places, (std::vector<std::string>{"two.jsonl:4 is one.jsonl:3 again"}));
}

TEST_F(CacheFileTest, CutOffAnywhereItIsRefused) {
  for (size_t size = 0; size < good_.size(); size += size < 200 || size + 700 > good_.size() ? 1 : 53) {
    EXPECT_NE(refusal(good_.substr(0, size)), "") << size << " bytes";
  }
  EXPECT_NE(refusal(good_ + "x"), "");
  EXPECT_NE(refusal(good_ + good_), "") << "two of them";
  EXPECT_EQ(refusal(good_), "");
}

TEST_F(CacheFileTest, AnyChangedByteOfASectionOrItsFrameIsFound) {
  for (uint32_t s = 1; s <= kCacheSections; ++s) {
    const SectionRecord record = section(static_cast<CacheSection>(s));
    ASSERT_GT(record.bytes, 0) << s;
    for (const int64_t at : {int64_t{0}, record.bytes / 2, record.bytes - 1}) {
      std::string bytes = good_;
      bytes[static_cast<size_t>(record.offset + at)] ^= 0x10;
      const std::string why = refusal(bytes);
      EXPECT_NE(why.find(section_kind(static_cast<CacheSection>(s)).name), std::string::npos) << why;
    }
  }
  const int64_t table = static_cast<int64_t>(good_.size() - sizeof(CacheTrailer)) - static_cast<int64_t>(sizeof(SectionRecord)) * kCacheSections;
  for (size_t at = static_cast<size_t>(table); at < good_.size(); ++at) {
    if (at >= good_.size() - sizeof(CacheTrailer) + 20 && at < good_.size() - sizeof(CacheTrailer) + 24) continue;  // zero, read by nobody
    std::string bytes = good_;
    bytes[at] ^= 0x01;
    EXPECT_NE(refusal(bytes), "") << "byte " << at;
  }
  for (size_t at = 0; at < 48; ++at) {
    std::string bytes = good_;
    bytes[at] ^= 0x01;
    EXPECT_NE(refusal(bytes), "") << "byte " << at;
  }
}

TEST_F(CacheFileTest, ForeignFilesAreNamedForWhatTheyAre) {
  EXPECT_NE(refusal(std::string(5000, 'x')).find("is no file of prepared data"), std::string::npos);
  EXPECT_NE(refusal("").find("is cut off after 0 bytes"), std::string::npos);
  EXPECT_NE(refusal(good_, std::string(32, 'o')).find("belongs to other data"), std::string::npos);
  std::string other = good_;
  other[8] = 77;
  EXPECT_NE(refusal(other).find("has version 77"), std::string::npos);
  std::swap(other[12], other[15]);
  EXPECT_NE(refusal(other).find("another byte order"), std::string::npos) << refusal(other);
}

TEST_F(CacheFileTest, WrongContentUnderRightChecksumsIsRefusedToo) {
  const auto refused = [&](const std::string& bytes, const char* with) {
    const std::string why = refusal(bytes);
    EXPECT_NE(why.find(with), std::string::npos) << why;
  };
  refused(forged(CacheSection::kWords, 0, int32_t{-1}), "has the id -1");
  refused(forged(CacheSection::kWords, 4, int32_t{300}), "has the id 300 of a vocabulary of 300");
  refused(forged(CacheSection::kWords, 12, int32_t{0x2}), "other labels than it says");
  refused(forged(CacheSection::kWords, 12, int32_t{0x16}), "other labels than it says");  // a bit behind the last token
  refused(forged(CacheSection::kRecords, 0, int64_t{1} << 40), "does not lie in the tokens");
  refused(forged(CacheSection::kRecords, 0, int64_t{-4}), "does not lie in the tokens");
  refused(forged(CacheSection::kRecords, 16, int32_t{0}), "does not lie in the tokens");
  refused(forged(CacheSection::kRecords, 16, int32_t{0x7fffffff}), "does not lie in the tokens");
  refused(forged(CacheSection::kRecords, 24, int32_t{2}), "names file 2 of 2");
  refused(forged(CacheSection::kDocuments0, 8, int64_t{9}), "lists document 9 of 9");
  refused(forged(CacheSection::kDocuments1, 0, int64_t{-1}), "lists document");
  refused(forged(CacheSection::kRows0, 0, int64_t{1}), "do not cover");
  refused(forged(CacheSection::kRows0, 16, int64_t{0}), "row 0 holds documents 0 to 0");
  refused(forged(CacheSection::kRows0, 16, int64_t{1} << 50), "row 0 holds documents");
  refused(forged(CacheSection::kRows0, 8, int32_t{1}), "row 0 has other tokens");
  refused(forged(CacheSection::kRowDocuments0, 0, int64_t{7}), "row 0 lists document 7 of 7");
}

TEST_F(CacheFileTest, IsReadInFullWhenItIsMetAndWhenItChanged) {
  ::usleep(130'000);  // longer than the tick of a file system's clock
  EXPECT_EQ(refusal_as_it_is(), "");
  EXPECT_TRUE(fs::exists(path_.string() + ".verified"));
  EXPECT_EQ(refusal_as_it_is(), "");
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(70);
    file.put('!');
  }
  ::usleep(130'000);
  EXPECT_NE(refusal_as_it_is().find("damaged tokens"), std::string::npos);
}

}  // namespace
}  // namespace nibble::data
