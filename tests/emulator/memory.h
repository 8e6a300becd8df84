// The emulated device's memory: what is allocated, where managed pages are, and what a stray access hit.
//
// Every allocation lies between inaccessible pages and ends where one begins (rounded up to 16 bytes, the alignment that
// kernels ask for), so that reading or writing past the end is a fault that names it. The bytes before the beginning, on its
// first page, hold a pattern that is checked. Fresh memory holds 0xFF: NaNs.
//
// Managed memory is kept in granules of 64 KiB, each on the host, on the device, or not touched yet. While a kernel runs,
// only granules on the device are accessible, and otherwise only those on the host: the fault of any other access moves the
// granule, as the driver would, and is counted. Where the device is full, the granule that came first makes room.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/emulator/emulator.h"

namespace nibble::emulator {

inline constexpr int64_t kGranuleBytes = 64 * 1024;

enum class MemoryKind : uint8_t { kDevice, kManaged, kPinned };
enum class Home : uint8_t { kNowhere, kHost, kDevice };
enum class Accessor : uint8_t { kHost, kKernel, kCopy };  // kCopy: everything is accessible, nothing moves

struct Allocation {
  MemoryKind kind = MemoryKind::kDevice;
  char* data = nullptr;
  int64_t bytes = 0;
  char* map = nullptr;  // with the guard pages
  size_t map_bytes = 0;
  int64_t number = 0;   // counted from 1
  std::vector<Home> granules;  // managed only
};

class Memory {
 public:
  ~Memory() { clear(); }

  void clear();                                  // frees all
  void set_limit(int64_t device_bytes, bool tracks_managed);

  void* allocate(MemoryKind kind, int64_t bytes);  // null where the device has no room
  bool release(void* data, bool pinned);           // false where nothing begins there
  const Allocation* find(const void* address) const;  // that holds the address, or null

  void move(const void* begin, int64_t bytes, Home to);  // managed granules; REQUIRES find(begin) of managed memory
  void set_accessor(Accessor accessor);

  // What a fault at an address means. Returns "" where it has been put right and the access may be repeated.
  std::string resolve_fault(uintptr_t address, bool is_write);

  std::string damage() const;   // "" or which allocation was written in front of
  std::string leaks() const;    // "" or one line for each allocation
  MemoryUse use() const;
  const std::map<uintptr_t, Allocation>& allocations() const { return allocations_; }

 private:
  int64_t device_bytes_used() const { return use_.device_bytes + use_.managed_on_device_bytes; }
  bool make_room(int64_t bytes);  // evicts managed granules
  void place(Allocation& a, size_t granule, Home home);
  void protect(const Allocation& a, size_t granule) const;
  void protect_all(const Allocation& a) const;
  bool is_open(Home home) const;
  int64_t granule_bytes(const Allocation& a, size_t granule) const;

  struct Arrival {
    uintptr_t data;
    size_t granule;
  };

  std::map<uintptr_t, Allocation> allocations_;  // by data
  std::vector<Allocation> freed_;                // kept inaccessible, so that use after free is a fault; newest last
  std::vector<Arrival> arrivals_;                // granules on the device, oldest first
  int64_t limit_ = 0;
  int64_t count_ = 0;
  bool tracks_managed_ = true;
  Accessor accessor_ = Accessor::kHost;
  MemoryUse use_;
};

}  // namespace nibble::emulator
