// How much memory this process may have, and how much it has.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace nibble {

// What counts against a limit: memory that is resident; private data, resident or not; all that is mapped, files too.
enum class LimitOn : uint8_t { kResident, kData, kAddressSpace };

struct MemoryLimit {
  int64_t bytes = 0;            // that may be resident
  std::string source;  // whose limit it is: "the machine", "control group /system.slice/x", "ulimit -v"
  LimitOn on = LimitOn::kResident;
};

// The lowest of: physical memory; the limits of this process's control group and of every group around it (version 2:
// memory.max, version 1: memory.limit_in_bytes), which the kernel enforces by killing; the process's own limits of address
// space and data (setrlimit), less what is mapped against them now without being resident. In a container, groups outside of it are not visible: their limit then stands at the root.
// `proc` and `cgroups` are for tests.
MemoryLimit memory_limit(const std::filesystem::path& proc = "/proc", const std::filesystem::path& cgroups = "/sys/fs/cgroup");

// Memory of this process that is in use now, as the kernel counts it; 0 where it cannot be known.
int64_t resident_bytes();
int64_t peak_resident_bytes();

}  // namespace nibble
