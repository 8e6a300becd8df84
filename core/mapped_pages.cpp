#include "core/mapped_pages.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; an older kernel answers EINVAL
#endif

namespace nibble {
namespace {

struct Pages {
  char* begin;
  size_t size;
};

// The pages that hold any of `bytes`. A neighbour's bytes on the first or last page come and go with them, which costs a
// page fault at most.
Pages pages_of(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size();
  return {reinterpret_cast<char*>(begin), end - begin};
}

}  // namespace

void bring_pages(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const Pages pages = pages_of(bytes);
  // Reading starts for all of them at once, then each is waited for.
  (void)::madvise(pages.begin, pages.size, MADV_WILLNEED);
  if (::madvise(pages.begin, pages.size, MADV_POPULATE_READ) == 0 || errno != EINVAL) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  for (size_t at = 0; at < pages.size; at += page) static_cast<void>(*static_cast<volatile const char*>(pages.begin + at));
}

void drop_pages(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const Pages pages = pages_of(bytes);
  (void)::madvise(pages.begin, pages.size, MADV_DONTNEED);
}

std::string xxh3_128_passing(std::span<const std::byte> bytes) {
  constexpr size_t kPieceBytes = size_t{8} << 20;
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_128bits_reset(&state);
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kPieceBytes));
    XXH3_128bits_update(&state, piece.data(), piece.size());
    drop_pages(piece);
    bytes = bytes.subspan(piece.size());
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(&state);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace nibble
