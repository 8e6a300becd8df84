// libFuzzer target: any bytes as a cache of prepared data. Twice: as they are, and with the frame's own checksum and places made
// right again, so that the fuzzer gets past them to the sections. What is accepted must be readable without a fault.
//
// Units: data/cache_file data/token_store
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/cache_file.h"
#include "data/cache_layout.h"
#include "data/dataset.h"
#include "data/sampler.h"

namespace nibble::data {
namespace {

constexpr int64_t kFiles = 2, kVocab = 300;

// The trailer and the head's first words as a writer makes them; the table's places and everything else stay as they are.
void seal(std::span<std::byte> bytes) {
  const size_t table_bytes = sizeof(SectionRecord) * kCacheSections;
  if (bytes.size() < sizeof(CacheHead) + table_bytes + sizeof(CacheTrailer)) return;
  CacheHead head;
  std::memcpy(&head, bytes.data(), sizeof(head));
  std::memcpy(head.magic, kCacheMagic, sizeof(head.magic));
  head.version = kCacheVersion;
  head.byte_order = kByteOrderMark;
  std::memcpy(bytes.data(), &head, sizeof(head));
  CacheTrailer trailer{};
  const size_t table = bytes.size() - sizeof(trailer) - table_bytes;
  trailer.table_offset = static_cast<int64_t>(table);
  trailer.file_bytes = static_cast<int64_t>(bytes.size());
  trailer.sections = kCacheSections;
  const std::string hash = xxh3_128({reinterpret_cast<const char*>(bytes.data()) + table, table_bytes});
  std::memcpy(trailer.table_xxh3_128, hash.data(), sizeof(trailer.table_xxh3_128));
  std::memcpy(trailer.magic, kCacheMagic, sizeof(trailer.magic));
  std::memcpy(bytes.data() + bytes.size() - sizeof(trailer), &trailer, sizeof(trailer));
}

void read_all(const Dataset& dataset) {
  // The same document may be listed again and again: what a few kilobytes can say is bounded, but not how long it takes to read.
  int64_t tokens = 0;
  for (int64_t d = 0; d < dataset.documents(); ++d) tokens += dataset.length(d);
  if (tokens > int64_t{1} << 18) return;
  for (int64_t d = 0; d < dataset.documents(); ++d) {
    for (const int32_t id : dataset.sample(d).ids) {
      if (id < 0 || id >= kVocab) __builtin_trap();
    }
    if (dataset.place(d).empty()) __builtin_trap();
  }
  if (dataset.rows() == 0) return;
  BatchStream batches(dataset, 2, 1, true);
  batches.next();
}

void load(std::span<const std::byte> bytes) {
  try {
    const StoreView store = parse_cache(bytes, "fuzz", "");
    const std::vector<std::string> files(kFiles, "rows.jsonl");
    try {
      read_stats(store.stats, files);
    } catch (const FormatError&) {
    }
    if (!check_store(store, kFiles, kVocab).empty()) return;
    for (const Part part : {Part::kTrain, Part::kValidation}) read_all(Dataset(nullptr, store, part, files, /*mapped=*/false));
  } catch (const FormatError&) {
  }
}

}  // namespace
}  // namespace nibble::data

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kLargest = size_t{1} << 20;
  if (size > kLargest) return 0;
  std::vector<uint64_t> aligned(size / 8 + 1);  // as a mapping is
  if (size > 0) std::memcpy(aligned.data(), data, size);
  const std::span<std::byte> bytes(reinterpret_cast<std::byte*>(aligned.data()), size);
  nibble::data::load(bytes);
  nibble::data::seal(bytes);
  nibble::data::load(bytes);
  return 0;
}
