// The file that keeps prepared data: tokens, documents, rows and findings of one set of data files, tokenizer and keys.
//
//   0         64 bytes: magic, version, byte order mark, key
//   64        sections, each from a multiple of 64: arrays as data/token_store.h has them, and the findings as JSON
//   ...       table: a SectionRecord for each, with its place and the XXH3-128 of its bytes
//   end - 64  trailer: magic, place of the table, number of sections, size of the file, XXH3-128 of the table
//
// Written from front to back, because what it will hold is not known when it begins; the trailer makes it whole. Numbers have the
// machine's byte order, which the mark tells: a cache does not travel. Readers trust nothing: the key must be the expected one, all
// checksums right and all indices in range before a token is used. Checksums are compared when a file is met for the first time and
// whenever the file system says that it changed (core/verified_stamp.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "core/file.h"
#include "data/token_store.h"

namespace nibble::data {

// Goes up with every change of this format, and of anything that makes other tokens, labels or rows of the same input.
inline constexpr uint32_t kCacheVersion = 1;

enum class CacheSection : uint32_t { kWords = 1, kRecords, kUsedIds, kDocuments0, kRows0, kRowDocuments0, kDocuments1, kRows1, kRowDocuments1, kStats };
inline constexpr uint32_t kCacheSections = 10;

// Writes one from front to back: every section once, in the order of the enumeration.
class CacheWriter {
 public:
  // key: 32 characters. THROWS IoError
  CacheWriter(const std::filesystem::path& path, const std::string& key);
  ~CacheWriter();

  void begin(CacheSection section);
  void write(std::span<const std::byte> bytes);  // into the section begun last
  template <class T>
  void section(CacheSection id, std::span<const T> values) {
    begin(id);
    write(std::as_bytes(values));
  }
  void finish();  // table and trailer, on disk

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What a cache file holds, as views of its bytes. Looks at the frame only: places, sizes, key. `bytes` are aligned to 8.
// THROWS FormatError with the byte where it is not such a file, is cut off, of another version, byte order or key (expected_key "": any).
StoreView parse_cache(std::span<const std::byte> bytes, const std::string& path, const std::string& expected_key);

// Compares every checksum, and lets pages go as it proceeds. REQUIRES bytes of a mapped file: private memory would come back as zeros.
// THROWS FormatError with the section's place.
void verify_cache_checksums(std::span<const std::byte> bytes, const std::string& path);

// An open cache file; its view lives as long.
struct CacheFile {
  MappedFile file;
  StoreView store;
};
// Opens and proves it. files: how many data files its places may name. THROWS FormatError, IoError.
CacheFile open_cache_file(const std::filesystem::path& path, const std::string& key, int64_t files, int64_t vocab_size);

}  // namespace nibble::data
