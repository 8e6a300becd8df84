// Bytes of a cache file's frame (data/cache_file.h).
#pragma once

#include <cstdint>

namespace nibble::data {

inline constexpr char kCacheMagic[8] = {'n', 'i', 'b', 'b', 'l', 'e', 'D', '\n'};
inline constexpr uint32_t kByteOrderMark = 0x01020304;
inline constexpr int64_t kCacheAlignment = 64;
inline constexpr int64_t kCacheKeyDigits = 32;

struct CacheHead {
  char magic[8];
  uint32_t version;
  uint32_t byte_order;
  char key[kCacheKeyDigits];
  char zero[16];
};
static_assert(sizeof(CacheHead) == 64);

struct SectionRecord {
  uint32_t section;        // CacheSection
  uint32_t element_bytes;  // size of one value: tells arrays of another layout apart
  int64_t offset;
  int64_t bytes;
  char xxh3_128[32];       // hexadecimal digits
};
static_assert(sizeof(SectionRecord) == 56);

struct CacheTrailer {
  int64_t table_offset;
  int64_t file_bytes;      // all of it, this included
  uint32_t sections;
  uint32_t zero;
  char table_xxh3_128[32];
  char magic[8];
};
static_assert(sizeof(CacheTrailer) == 64);

}  // namespace nibble::data
