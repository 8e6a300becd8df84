// The sections of a cache file: what a value of each is, and what people call it.
#pragma once

#include <cstdint>
#include <string_view>

#include "data/cache_file.h"

namespace nibble::data {

struct SectionKind {
  std::string_view name;
  uint32_t element_bytes;
};

constexpr SectionKind section_kind(CacheSection section) {
  switch (section) {
    case CacheSection::kWords: return {"tokens", sizeof(int32_t)};
    case CacheSection::kRecords: return {"documents", sizeof(DocumentRecord)};
    case CacheSection::kUsedIds: return {"used ids", sizeof(uint64_t)};
    case CacheSection::kDocuments0: return {"training documents", sizeof(int64_t)};
    case CacheSection::kRows0: return {"training rows", sizeof(RowRecord)};
    case CacheSection::kRowDocuments0: return {"documents of training rows", sizeof(int64_t)};
    case CacheSection::kDocuments1: return {"validation documents", sizeof(int64_t)};
    case CacheSection::kRows1: return {"validation rows", sizeof(RowRecord)};
    case CacheSection::kRowDocuments1: return {"documents of validation rows", sizeof(int64_t)};
    case CacheSection::kStats: return {"statistics", 1};
  }
  return {"", 0};
}

constexpr uint32_t element_bytes(CacheSection section) { return section_kind(section).element_bytes; }

}  // namespace nibble::data
