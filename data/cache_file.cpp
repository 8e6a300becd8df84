#include "data/cache_file.h"

#include <fmt/core.h>

#include <cstring>

#include "core/error.h"
#include "core/mapped_pages.h"
#include "core/verified_stamp.h"
#include "data/cache_layout.h"
#include "data/cache_sections.h"

namespace nibble::data {
namespace {

constexpr int64_t kLargestStats = int64_t{16} << 20;

// Reads a struct of the frame out of the bytes. REQUIRES that it lies in them.
template <class T>
T value_at(std::span<const std::byte> bytes, int64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

template <size_t N>
std::string_view text_of(const char (&digits)[N]) { return {digits, N}; }

std::string_view as_text(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// The frame of one file.
struct Frame {
  std::span<const std::byte> bytes;
  const std::string& path;

  [[noreturn]] void fail(int64_t offset, const std::string& message) const { throw FormatError(message, path, offset); }
  int64_t size() const { return static_cast<int64_t>(bytes.size()); }

  void check_head(const std::string& expected_key) const {
    if (size() < static_cast<int64_t>(sizeof(CacheHead) + sizeof(CacheTrailer))) fail(size(), fmt::format("is cut off after {} bytes", size()));
    const auto head = value_at<CacheHead>(bytes, 0);
    if (std::memcmp(head.magic, kCacheMagic, sizeof(kCacheMagic)) != 0) fail(0, "is no file of prepared data");
    if (head.byte_order != kByteOrderMark) fail(12, "was written on a machine of another byte order");
    if (head.version != kCacheVersion) fail(8, fmt::format("has version {}, and this nibble writes {}", head.version, kCacheVersion));
    if (!expected_key.empty() && text_of(head.key) != expected_key) fail(16, "belongs to other data, another tokenizer or other keys");
  }

  CacheTrailer trailer() const {
    const int64_t at = size() - static_cast<int64_t>(sizeof(CacheTrailer));
    const auto last = value_at<CacheTrailer>(bytes, at);
    if (std::memcmp(last.magic, kCacheMagic, sizeof(kCacheMagic)) != 0) fail(at, "is cut off or damaged at its end");
    if (last.file_bytes != size()) fail(at, fmt::format("has {} bytes instead of {}", size(), last.file_bytes));
    const int64_t table = at - static_cast<int64_t>(sizeof(SectionRecord)) * kCacheSections;
    if (last.sections != kCacheSections || last.table_offset != table || table < static_cast<int64_t>(sizeof(CacheHead))) {
      fail(at, "has a table of sections in the wrong place");
    }
    const auto table_bytes = bytes.subspan(static_cast<size_t>(table), sizeof(SectionRecord) * kCacheSections);
    if (xxh3_128(as_text(table_bytes)) != text_of(last.table_xxh3_128)) fail(table, "has a damaged table of sections");
    return last;
  }

  SectionRecord section(const CacheTrailer& last, uint32_t index) const {
    const int64_t at = last.table_offset + static_cast<int64_t>(sizeof(SectionRecord)) * index;
    const auto record = value_at<SectionRecord>(bytes, at);
    const auto kind = static_cast<CacheSection>(index + 1);
    const bool aligned = record.offset % kCacheAlignment == 0 && record.offset >= static_cast<int64_t>(sizeof(CacheHead));
    if (record.section != index + 1 || record.element_bytes != element_bytes(kind) || !aligned || record.bytes < 0 ||
        record.offset > last.table_offset || record.bytes > last.table_offset - record.offset || record.bytes % record.element_bytes != 0) {
      fail(at, fmt::format("has a wrong place for its {}", section_kind(kind).name));
    }
    return record;
  }

  template <class T>
  std::span<const T> values(const CacheTrailer& last, CacheSection kind) const {
    static_assert(alignof(T) <= kCacheAlignment);
    const SectionRecord record = section(last, static_cast<uint32_t>(kind) - 1);
    return {reinterpret_cast<const T*>(bytes.data() + record.offset), static_cast<size_t>(record.bytes) / sizeof(T)};
  }
};

}  // namespace

StoreView parse_cache(std::span<const std::byte> bytes, const std::string& path, const std::string& expected_key) {
  const Frame frame{bytes, path};
  frame.check_head(expected_key);
  const CacheTrailer last = frame.trailer();
  StoreView store;
  store.words = frame.values<int32_t>(last, CacheSection::kWords);
  store.records = frame.values<DocumentRecord>(last, CacheSection::kRecords);
  store.used_ids = frame.values<uint64_t>(last, CacheSection::kUsedIds);
  const auto part = [&](CacheSection documents, CacheSection rows, CacheSection row_documents) -> PartView {
    return {frame.values<int64_t>(last, documents), frame.values<RowRecord>(last, rows), frame.values<int64_t>(last, row_documents)};
  };
  store.parts[0] = part(CacheSection::kDocuments0, CacheSection::kRows0, CacheSection::kRowDocuments0);
  store.parts[1] = part(CacheSection::kDocuments1, CacheSection::kRows1, CacheSection::kRowDocuments1);
  const auto stats = frame.values<char>(last, CacheSection::kStats);
  if (static_cast<int64_t>(stats.size()) > kLargestStats) frame.fail(last.table_offset, "has statistics without end");
  store.stats = {stats.data(), stats.size()};
  return store;
}

void verify_cache_checksums(std::span<const std::byte> bytes, const std::string& path) {
  const Frame frame{bytes, path};
  const CacheTrailer last = frame.trailer();
  for (uint32_t i = 0; i < kCacheSections; ++i) {
    const SectionRecord record = frame.section(last, i);
    const auto section = bytes.subspan(static_cast<size_t>(record.offset), static_cast<size_t>(record.bytes));
    if (xxh3_128_passing(section) != text_of(record.xxh3_128)) {
      frame.fail(record.offset, fmt::format("has damaged {}", section_kind(static_cast<CacheSection>(i + 1)).name));
    }
  }
}

CacheFile open_cache_file(const std::filesystem::path& path, const std::string& key, int64_t files, int64_t vocab_size) {
  const std::string identity = file_identity(path);
  CacheFile cache;
  cache.file = MappedFile(path);
  cache.store = parse_cache(cache.file.bytes(), path.string(), key);
  if (is_vouched_for(path)) return cache;
  verify_cache_checksums(cache.file.bytes(), path.string());
  if (const std::string wrong = check_store(cache.store, files, vocab_size, drop_pages); !wrong.empty()) throw FormatError(wrong, path.string());
  drop_pages(cache.file.bytes());
  vouch_for(path, identity);
  return cache;
}

}  // namespace nibble::data
