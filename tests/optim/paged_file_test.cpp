// Units: optim/paged_file, optim/paged_mapping. State in a file: nothing is left of it, a full disk is found out at the
// start, and what is resident is what the process holds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/error.h"
#include "optim/paged_arena.h"
#include "optim/paged_backend.h"
#include "tests/optim/paged_rig.h"

namespace nibble::optim {
namespace {

using test::kPage;

// Resident bytes of the mapping that holds `address`, as the kernel counts them.
int64_t resident_bytes_at(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream head(line);
    if (head >> std::hex >> begin >> dash >> end && dash == '-') inside = begin <= wanted && wanted < end;
    if (inside && line.rfind("Rss:", 0) == 0) return std::stoll(line.substr(4)) * 1024;
  }
  return -1;
}

TEST(FileBackend, LeavesNoNameBehind) {
  const test::TemporaryFolder folder;
  const auto backend = make_file_backend(3 * kPage, folder.path());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "while it is open";
  const float value = 1.5f;
  backend->write(kPage, 4, &value);
  EXPECT_EQ(*reinterpret_cast<const float*>(backend->address(kPage, kPage, 0)), 1.5f) << "the mapping shows what was written";
}

TEST(FileBackend, FindsOutAtOnceThatTheDiskIsTooSmall) {
  const test::TemporaryFolder folder;
  try {
    make_file_backend(int64_t{1} << 60, folder.path());
    FAIL() << "an exbibyte was free";
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr(folder.path().string()),
                                             testing::HasSubstr("needs 1073741824.0 GiB"),
                                             testing::HasSubstr("free some space")));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(FileBackend, NamesAFolderThatIsNotThere) {
  const test::TemporaryFolder folder;
  try {
    make_file_backend(kPage, folder / "nowhere");
    FAIL() << "a file in a folder that does not exist";
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("nowhere"), testing::HasSubstr("No such file or directory")));
  }
}

// What the process holds of the arena stays within the budget while all of it is updated, several times over. The kernel
// maps a few neighbours of a page that is touched (fault-around, 64 KiB on each side).
TEST(PagedFile, KeepsTheProcessWithinTheBudget) {
  constexpr int64_t kGroup = 16 * kPage, kBudget = 64 * kPage, kSlack = 2 * (64 << 10);
  test::PagedRig rig(PagedMemory::kFile, test::groups_of_floats(std::vector<int64_t>(16, kGroup / 4)), kBudget);
  rig.reserve();
  const std::byte* inside = nullptr;
  int64_t most = 0;
  for (int step = 0; step < 2; ++step) {
    for (size_t first = 0; first < rig.groups.size();) {
      const StateWindow window = rig.arena->before_update(first);
      if (inside == nullptr) inside = window.address;
      for (size_t g = first; g < first + window.groups; ++g) {
        std::byte* address = window.address + (rig.groups[g].offset - rig.groups[first].offset);
        test::update(reinterpret_cast<float*>(address), kGroup / 4, step);
        test::update(rig.expected.data() + rig.groups[g].offset / 4, kGroup / 4, step);
      }
      most = std::max(most, resident_bytes_at(inside));
      rig.arena->after_update(first, window.groups);
      most = std::max(most, resident_bytes_at(inside));
      first += window.groups;
    }
  }
  EXPECT_GE(most, kBudget / 2) << "a window was updated without being there";
  EXPECT_LE(most, kBudget + kSlack);
  EXPECT_TRUE(rig.holds_what_is_expected());
  EXPECT_LE(resident_bytes_at(inside), kBudget + kSlack) << "reading a checkpoint's data made it resident";
}

}  // namespace
}  // namespace nibble::optim
