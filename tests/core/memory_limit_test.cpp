#include "core/memory_limit.h"

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/support/temporary_folder.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

// A machine's /proc and /sys/fs/cgroup.
struct Machine {
  test::TemporaryFolder folder;

  explicit Machine(const std::string& self_cgroup) { write("proc/self/cgroup", self_cgroup); }
  void write(const std::string& name, const std::string& text) const {
    test::put_file(folder / name, text);
  }
  MemoryLimit limit() const { return memory_limit(folder / "proc", folder / "cgroup"); }
};

TEST(MemoryLimit, WithoutGroupsIsTheMachines) {
  const Machine machine("");
  const MemoryLimit limit = machine.limit();
  EXPECT_GT(limit.bytes, int64_t{64} << 20);
  EXPECT_GE(memory_limit().bytes, int64_t{64} << 20);
  EXPECT_LE(memory_limit().bytes, limit.bytes);
}

TEST(MemoryLimit, IsTheLowestOfTheGroupAndThoseAroundIt) {
  const Machine machine("0::/user.slice/run-1.scope\n");
  machine.write("cgroup/memory.max", "max\n");
  machine.write("cgroup/user.slice/memory.max", "1048576\n");
  machine.write("cgroup/user.slice/run-1.scope/memory.max", "2097152\n");
  EXPECT_EQ(machine.limit().bytes, 1048576);
  EXPECT_EQ(machine.limit().source, "control group /user.slice");
  machine.write("cgroup/user.slice/run-1.scope/memory.max", "524288\n");
  EXPECT_EQ(machine.limit().bytes, 524288);
  EXPECT_EQ(machine.limit().source, "control group /user.slice/run-1.scope");
}

TEST(MemoryLimit, InAContainerTheHostsPathIsNotThereButTheRootIs) {
  const Machine machine("0::/system.slice/docker-0.scope\n");
  machine.write("cgroup/memory.max", "1048576\n");
  EXPECT_EQ(machine.limit().bytes, 1048576);
  EXPECT_EQ(machine.limit().source, "control group /");
}

TEST(MemoryLimit, ReadsVersionOneAndBothTogether) {
  const Machine machine("12:cpu,cpuacct:/a\n4:memory:/a/b\n1:name=systemd:/a\n0::/c\n");
  machine.write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");  // as the kernel says "none"
  machine.write("cgroup/memory/a/memory.limit_in_bytes", "4194304\n");
  machine.write("cgroup/memory/a/b/memory.limit_in_bytes", "8388608\n");
  EXPECT_EQ(machine.limit().bytes, 4194304);
  machine.write("cgroup/unified/c/memory.max", "3145728\n");
  EXPECT_EQ(machine.limit().bytes, 3145728);
}

TEST(MemoryLimit, TextThatIsNoGroupIsNoLimit) {
  const Machine machine("nonsense\n::\n");
  machine.write("cgroup/memory.max", "lots\n");
  EXPECT_EQ(machine.limit().source, Machine("").limit().source);
}

#ifndef __SANITIZE_ADDRESS__  // its shadow counts: under any limit below the machine's memory it maps nothing more
TEST(MemoryLimit, IncludesTheProcessesOwn) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_DATA, &before), 0);
  rlimit lower = before;
  lower.rlim_cur = std::min(before.rlim_max, rlim_t{900} << 20);
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &lower), 0);
  const MemoryLimit limit = memory_limit();
  setrlimit(RLIMIT_DATA, &before);
  EXPECT_LE(limit.bytes, int64_t{900} << 20);
}

// 100 pages of data of which 20 are resident: 80 can hold nothing that a run will need.
TEST(MemoryLimit, LeavesOutWhatIsMappedAndNotResident) {
  const Machine machine("");
  machine.write("proc/self/statm", "5000 30 10 1 0 100 0\n");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_DATA, &before), 0);
  rlimit lower = before;
  lower.rlim_cur = std::min(before.rlim_max, rlim_t{900} << 20);
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &lower), 0);
  const MemoryLimit limit = machine.limit();
  setrlimit(RLIMIT_DATA, &before);
  EXPECT_EQ(limit.bytes, static_cast<int64_t>(lower.rlim_cur) - 80 * sysconf(_SC_PAGE_SIZE));
  EXPECT_EQ(limit.source, "ulimit -d (data)");
  EXPECT_EQ(limit.on, LimitOn::kData);
}

// A process of little data in much address space: as one that has LibTorch loaded.
TEST(MemoryLimit, OfAddressSpaceCountsMappings) {
  const Machine machine("");
  machine.write("proc/self/statm", "1000 200 150 1 0 90 0\n");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  const MemoryLimit without = machine.limit();
  EXPECT_EQ(without.on, LimitOn::kResident);
  rlimit lower = before;
  lower.rlim_cur = static_cast<rlim_t>(without.bytes) - (rlim_t{1} << 30);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &lower), 0);
  const MemoryLimit limit = machine.limit();
  setrlimit(RLIMIT_AS, &before);
  EXPECT_EQ(limit.bytes, static_cast<int64_t>(lower.rlim_cur) - 800 * sysconf(_SC_PAGE_SIZE));
  EXPECT_EQ(limit.source, "ulimit -v (address space)");
  EXPECT_EQ(limit.on, LimitOn::kAddressSpace);
}
#endif

TEST(ResidentBytes, GrowWithMemoryThatIsTouched) {
  const int64_t before = resident_bytes();
  std::vector<char> block(size_t{64} << 20);
  std::memset(block.data(), 1, block.size());
  EXPECT_GE(resident_bytes(), before + (int64_t{60} << 20));
  EXPECT_GE(peak_resident_bytes(), before + (int64_t{60} << 20));
  EXPECT_EQ(block[block.size() / 2], 1);
}

}  // namespace
}  // namespace nibble
