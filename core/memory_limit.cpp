#include "core/memory_limit.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

namespace nibble {
namespace {

namespace fs = std::filesystem;

// A number in a file; the largest where the file is missing or says "max".
int64_t number_in(const fs::path& path) {
  std::ifstream file(path);
  int64_t bytes = 0;
  return file >> bytes && bytes > 0 ? bytes : std::numeric_limits<int64_t>::max();
}

void take_lower(MemoryLimit& limit, int64_t bytes, const std::string& source, LimitOn on = LimitOn::kResident) {
  if (bytes < limit.bytes) limit = {bytes, source, on};
}

// The group at `path` below `mount`, and all around it. In a container `path` may be one of the host, which is not mounted
// here: files that do not exist are no limit, and the root is always looked at.
void take_groups(MemoryLimit& limit, const fs::path& mount, const fs::path& path, const char* file) {
  fs::path group = path.relative_path();
  while (true) {
    const fs::path name = fs::path("/") / group;
    take_lower(limit, number_in(mount / group / file), "control group " + name.string());
    if (group.empty()) return;
    group = group.parent_path();
  }
}

// What a process has mapped and what of it is resident, bytes: all of it, and its private data. Zeros where it cannot be known.
struct Mapped {
  int64_t all = 0, resident = 0, data = 0, resident_data = 0;
};

Mapped mapped_now(const fs::path& proc) {
  std::ifstream file(proc / "self/statm");
  int64_t all = 0, resident = 0, shared = 0, text = 0, libraries = 0, data = 0;
  if (!(file >> all >> resident >> shared >> text >> libraries >> data)) return {};
  const int64_t page = sysconf(_SC_PAGE_SIZE);
  return {all * page, resident * page, data * page, (resident - shared) * page};
}

// The kernel counts what is mapped against these limits, resident or not: what is not resident now (libraries, stacks, what
// malloc holds back) is out of reach for what a run will touch.
template <class Resource>  // an enumeration of the C library's, or int
void take_resource(MemoryLimit& limit, Resource resource, LimitOn on, int64_t mapped, int64_t resident, const char* source) {
  rlimit now{};
  if (getrlimit(resource, &now) != 0 || now.rlim_cur == RLIM_INFINITY) return;
  const int64_t out_of_reach = std::max<int64_t>(0, mapped - resident);
  take_lower(limit, std::max<int64_t>(0, static_cast<int64_t>(now.rlim_cur) - out_of_reach), source, on);
}

}  // namespace

MemoryLimit memory_limit(const fs::path& proc, const fs::path& cgroups) {
  MemoryLimit limit{static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE), "the machine", LimitOn::kResident};
  // Lines of "number:controllers:path"; version 2 has number 0 and no controllers.
  std::ifstream groups(proc / "self/cgroup");
  take_groups(limit, cgroups, "", "memory.max");
  take_groups(limit, cgroups / "memory", "", "memory.limit_in_bytes");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",", path = line.substr(second + 1);
    if (controllers == ",,") {
      take_groups(limit, cgroups, path, "memory.max");
      take_groups(limit, cgroups / "unified", path, "memory.max");  // where both versions are mounted
    } else if (controllers.find(",memory,") != std::string::npos) {
      take_groups(limit, cgroups / "memory", path, "memory.limit_in_bytes");
    }
  }
  const Mapped mapped = mapped_now(proc);
  take_resource(limit, RLIMIT_AS, LimitOn::kAddressSpace, mapped.all, mapped.resident, "ulimit -v (address space)");
  take_resource(limit, RLIMIT_DATA, LimitOn::kData, mapped.data, mapped.resident_data, "ulimit -d (data)");
  return limit;
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t all = 0, resident = 0;
  return file >> all >> resident ? resident * sysconf(_SC_PAGE_SIZE) : 0;
}

int64_t peak_resident_bytes() {
  // Not getrusage first: its peak survives exec, so a process started by a large one would report the large one's.
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib * 1024;
  }
  rusage usage{};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss * 1024 : 0;
}

}  // namespace nibble
