// CacheWriter (data/cache_file.h).
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "data/cache_file.h"
#include "data/cache_layout.h"
#include "data/cache_sections.h"

namespace nibble::data {
namespace {

template <class Digits>
void put_digits(Digits& to, const std::string& text) {
  std::memcpy(to, text.data(), std::min(sizeof(to), text.size()));
}

}  // namespace

struct CacheWriter::State {
  FileWriter out;
  std::vector<SectionRecord> table;

  void align() {
    static constexpr std::byte kZeros[kCacheAlignment] = {};
    const int64_t over = out.size() % kCacheAlignment;
    if (over != 0) out.write(std::span(kZeros).first(static_cast<size_t>(kCacheAlignment - over)));
  }
  void end_section() {
    if (table.empty()) return;
    SectionRecord& last = table.back();
    last.bytes = out.size() - last.offset;
    put_digits(last.xxh3_128, out.xxh3_128());
  }
};

CacheWriter::CacheWriter(const std::filesystem::path& path, const std::string& key) : state_(new State{FileWriter(path), {}}) {
  CacheHead head{};
  std::memcpy(head.magic, kCacheMagic, sizeof(head.magic));
  head.version = kCacheVersion;
  head.byte_order = kByteOrderMark;
  put_digits(head.key, key);
  state_->out.write(std::as_bytes(std::span(&head, 1)));
}

CacheWriter::~CacheWriter() = default;

void CacheWriter::begin(CacheSection section) {
  state_->end_section();
  state_->align();
  SectionRecord record{};
  record.section = static_cast<uint32_t>(section);
  record.element_bytes = element_bytes(section);
  record.offset = state_->out.size();
  state_->table.push_back(record);
  state_->out.restart_xxh3();
}

void CacheWriter::write(std::span<const std::byte> bytes) { state_->out.write(bytes); }

void CacheWriter::finish() {
  state_->end_section();
  state_->align();
  CacheTrailer trailer{};
  trailer.table_offset = state_->out.size();
  trailer.sections = static_cast<uint32_t>(state_->table.size());
  state_->out.restart_xxh3();
  state_->out.write(std::as_bytes(std::span(state_->table)));
  put_digits(trailer.table_xxh3_128, state_->out.xxh3_128());
  trailer.file_bytes = state_->out.size() + static_cast<int64_t>(sizeof(trailer));
  std::memcpy(trailer.magic, kCacheMagic, sizeof(trailer.magic));
  state_->out.write(std::as_bytes(std::span(&trailer, 1)));
  state_->out.close();
}

}  // namespace nibble::data
