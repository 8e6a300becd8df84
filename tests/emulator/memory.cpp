#include "tests/emulator/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace nibble::emulator {
namespace {

constexpr int64_t kPageBytes = 4096;
constexpr int64_t kAlignBytes = 16;
constexpr size_t kMostFreed = 256;
constexpr unsigned char kFrontPattern = 0xC5;
constexpr unsigned char kFresh = 0xFF;

int64_t round_up(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

const char* kind_name(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kDevice: return "device";
    case MemoryKind::kManaged: return "managed";
    case MemoryKind::kPinned: return "pinned";
  }
  return "";
}

std::string text_of(const Allocation& a) {
  return fmt::format("allocation {} ({} bytes of {} memory)", a.number, a.bytes, kind_name(a.kind));
}

bool maps(const Allocation& a, uintptr_t address) {
  const auto begin = reinterpret_cast<uintptr_t>(a.map);
  return address >= begin && address < begin + a.map_bytes;
}

// The first page holds the pattern up to the data.
const char* front(const Allocation& a) { return a.map + kPageBytes; }

bool front_is_whole(const Allocation& a) {
  return std::all_of(front(a), static_cast<const char*>(a.data),
                     [](char byte) { return static_cast<unsigned char>(byte) == kFrontPattern; });
}

void unmap(const Allocation& a) { munmap(a.map, a.map_bytes); }

}  // namespace

void Memory::clear() {
  for (const auto& [data, a] : allocations_) unmap(a);
  for (const Allocation& a : freed_) unmap(a);
  allocations_.clear();
  freed_.clear();
  arrivals_.clear();
  count_ = 0;
  use_ = {};
}

void Memory::set_limit(int64_t device_bytes, bool tracks_managed) {
  limit_ = device_bytes;
  tracks_managed_ = tracks_managed;
}

void* Memory::allocate(MemoryKind kind, int64_t bytes) {
  if (kind == MemoryKind::kDevice && !make_room(bytes)) return nullptr;
  Allocation a;
  a.kind = kind;
  a.bytes = bytes;
  a.number = ++count_;
  // Managed memory begins with a page, as its granules do.
  const int64_t data_bytes = round_up(bytes, kind == MemoryKind::kManaged ? kPageBytes : kAlignBytes);
  const int64_t inner = round_up(data_bytes, kPageBytes);
  a.map_bytes = static_cast<size_t>(inner + 2 * kPageBytes);
  void* map = mmap(nullptr, a.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  a.map = static_cast<char*>(map);
  a.data = a.map + kPageBytes + inner - data_bytes;
  mprotect(a.map, kPageBytes, PROT_NONE);
  mprotect(a.map + kPageBytes + inner, kPageBytes, PROT_NONE);
  std::memset(a.map + kPageBytes, kFrontPattern, static_cast<size_t>(inner - data_bytes));
  if (kind != MemoryKind::kManaged) std::memset(a.data, kFresh, static_cast<size_t>(data_bytes));  // managed memory: zeros
  if (kind == MemoryKind::kManaged) a.granules.assign(static_cast<size_t>(round_up(bytes, kGranuleBytes) / kGranuleBytes), Home::kNowhere);
  (kind == MemoryKind::kDevice ? use_.device_bytes : kind == MemoryKind::kManaged ? use_.managed_bytes : use_.pinned_bytes) += bytes;
  use_.peak_on_device_bytes = std::max(use_.peak_on_device_bytes, device_bytes_used());
  protect_all(a);
  return allocations_.emplace(reinterpret_cast<uintptr_t>(a.data), std::move(a)).first->second.data;
}

bool Memory::release(void* data, bool pinned) {
  const auto found = allocations_.find(reinterpret_cast<uintptr_t>(data));
  if (found == allocations_.end() || (found->second.kind == MemoryKind::kPinned) != pinned) return false;
  Allocation a = std::move(found->second);
  allocations_.erase(found);
  for (size_t i = 0; i < a.granules.size(); ++i) {
    if (a.granules[i] == Home::kDevice) use_.managed_on_device_bytes -= granule_bytes(a, i);
  }
  arrivals_.erase(std::remove_if(arrivals_.begin(), arrivals_.end(),
                                 [&](const Arrival& arrival) { return arrival.data == reinterpret_cast<uintptr_t>(a.data); }),
                  arrivals_.end());
  (a.kind == MemoryKind::kDevice ? use_.device_bytes : a.kind == MemoryKind::kManaged ? use_.managed_bytes : use_.pinned_bytes) -= a.bytes;
  mprotect(a.map, a.map_bytes, PROT_NONE);
  madvise(a.map, a.map_bytes, MADV_DONTNEED);
  freed_.push_back(std::move(a));
  if (freed_.size() > kMostFreed) {
    unmap(freed_.front());
    freed_.erase(freed_.begin());
  }
  return true;
}

const Allocation* Memory::find(const void* address) const {
  const auto at = reinterpret_cast<uintptr_t>(address);
  auto after = allocations_.upper_bound(at);
  if (after == allocations_.begin()) return nullptr;
  const Allocation& a = std::prev(after)->second;
  return at < reinterpret_cast<uintptr_t>(a.data) + static_cast<uintptr_t>(a.bytes) ? &a : nullptr;
}

int64_t Memory::granule_bytes(const Allocation& a, size_t granule) const {
  return std::min(kGranuleBytes, a.bytes - static_cast<int64_t>(granule) * kGranuleBytes);
}

bool Memory::make_room(int64_t bytes) {
  while (device_bytes_used() + bytes > limit_ && !arrivals_.empty()) {
    const Arrival oldest = arrivals_.front();
    ++use_.evictions;
    place(allocations_.at(oldest.data), oldest.granule, Home::kHost);  // takes it out of arrivals_
  }
  return device_bytes_used() + bytes <= limit_;
}

void Memory::place(Allocation& a, size_t granule, Home home) {
  const Home before = a.granules[granule];
  if (before == home) return;
  const int64_t bytes = granule_bytes(a, granule);
  const auto data = reinterpret_cast<uintptr_t>(a.data);
  if (before == Home::kDevice) {
    use_.managed_on_device_bytes -= bytes;
    arrivals_.erase(std::find_if(arrivals_.begin(), arrivals_.end(), [&](const Arrival& arrival) {
      return arrival.data == data && arrival.granule == granule;
    }));
  }
  if (home == Home::kDevice) {
    if (!make_room(bytes)) home = Home::kHost;  // a device full of cudaMalloc's memory: accessed over the bus
  }
  if (home == Home::kDevice) {
    use_.managed_on_device_bytes += bytes;
    use_.peak_on_device_bytes = std::max(use_.peak_on_device_bytes, device_bytes_used());
    arrivals_.push_back({data, granule});
  }
  a.granules[granule] = home;
  protect(a, granule);
}

void Memory::move(const void* begin, int64_t bytes, Home to) {
  Allocation& a = allocations_.at(reinterpret_cast<uintptr_t>(find(begin)->data));
  const int64_t from = static_cast<const char*>(begin) - a.data;
  const int64_t last = std::min(from + bytes, a.bytes) - 1;
  for (int64_t granule = from / kGranuleBytes; granule <= last / kGranuleBytes; ++granule) {
    place(a, static_cast<size_t>(granule), to);
  }
}

bool Memory::is_open(Home home) const {
  if (!tracks_managed_ || accessor_ == Accessor::kCopy) return true;
  return home == (accessor_ == Accessor::kKernel ? Home::kDevice : Home::kHost);
}

void Memory::protect(const Allocation& a, size_t granule) const {
  char* begin = a.data + static_cast<int64_t>(granule) * kGranuleBytes;
  const auto bytes = static_cast<size_t>(round_up(granule_bytes(a, granule), kPageBytes));
  mprotect(begin, bytes, is_open(a.granules[granule]) ? PROT_READ | PROT_WRITE : PROT_NONE);
}

// Neighbours of one state in one call.
void Memory::protect_all(const Allocation& a) const {
  for (size_t i = 0; i < a.granules.size();) {
    size_t end = i + 1;
    while (end < a.granules.size() && is_open(a.granules[end]) == is_open(a.granules[i])) ++end;
    const int64_t from = static_cast<int64_t>(i) * kGranuleBytes;
    const int64_t to = std::min(a.bytes, static_cast<int64_t>(end) * kGranuleBytes);
    mprotect(a.data + from, static_cast<size_t>(round_up(to - from, kPageBytes)),
             is_open(a.granules[i]) ? PROT_READ | PROT_WRITE : PROT_NONE);
    i = end;
  }
}

void Memory::set_accessor(Accessor accessor) {
  accessor_ = accessor;
  for (const auto& [data, a] : allocations_) {
    if (a.kind == MemoryKind::kManaged) protect_all(a);
  }
}

std::string Memory::resolve_fault(uintptr_t address, bool is_write) {
  const char* verb = is_write ? "writes" : "reads";
  for (auto& [data, a] : allocations_) {
    if (!maps(a, address)) continue;
    const auto offset = static_cast<int64_t>(address - data);
    if (a.kind == MemoryKind::kManaged && offset >= 0 && offset < a.bytes) {
      const auto granule = static_cast<size_t>(offset / kGranuleBytes);
      const Home before = a.granules[granule];
      if (is_open(before)) return fmt::format("{} {} of {}, which is accessible", verb, offset, text_of(a));
      const bool by_kernel = accessor_ == Accessor::kKernel;
      if (by_kernel) ++use_.faults_by_kernels;
      if (!by_kernel && before == Home::kDevice) ++use_.faults_by_host;
      place(a, granule, by_kernel ? Home::kDevice : Home::kHost);
      // On the device by right, or on the host for want of room: the access goes through either way.
      mprotect(a.data + static_cast<int64_t>(granule) * kGranuleBytes,
               static_cast<size_t>(round_up(granule_bytes(a, granule), kPageBytes)), PROT_READ | PROT_WRITE);
      return "";
    }
    if (offset < 0) return fmt::format("{} {} bytes before the beginning of {}", verb, -offset, text_of(a));
    return fmt::format("{} {} bytes past the end of {}", verb, offset - a.bytes, text_of(a));
  }
  for (const Allocation& a : freed_) {
    if (maps(a, address)) return fmt::format("{} byte {} of {}, which is freed", verb, static_cast<int64_t>(address - reinterpret_cast<uintptr_t>(a.data)), text_of(a));
  }
  return fmt::format("{} address {:#x}, where no memory is", verb, address);
}

std::string Memory::damage() const {
  std::string text;
  for (const auto& [data, a] : allocations_) {
    if (!front_is_whole(a)) text += fmt::format("bytes before the beginning of {} were written\n", text_of(a));
  }
  return text;
}

std::string Memory::leaks() const {
  std::string text;
  for (const auto& [data, a] : allocations_) text += fmt::format("{} was not freed\n", text_of(a));
  return text;
}

MemoryUse Memory::use() const { return use_; }

}  // namespace nibble::emulator
