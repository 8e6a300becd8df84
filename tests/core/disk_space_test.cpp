#include "core/disk_space.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/statvfs.h>

#include <limits>

#include "core/error.h"
#include "tests/support/temporary_folder.h"

namespace nibble {
namespace {

using test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kEndless = std::numeric_limits<int64_t>::max() / 2;

TEST(FreeDiskBytes, AreThoseOfTheNearestFolderThatExists) {
  const TemporaryFolder folder;
  test::put_file(folder / "file", "x");
  struct statvfs status {};
  ASSERT_EQ(::statvfs(folder.path().c_str(), &status), 0);
  const auto there = static_cast<double>(status.f_bavail) * static_cast<double>(status.f_frsize);
  for (const auto& path : {folder.path(), folder / "file", folder / "none/deeper/still/", folder / "file/below"}) {
    const auto free = free_disk_bytes(path);
    ASSERT_TRUE(free) << path;
    EXPECT_NEAR(static_cast<double>(*free), there, 0.2 * there + 1e9) << path << ": others write to the disk meanwhile";
  }
  EXPECT_TRUE(free_disk_bytes("a-relative-path-that-is-not-there"));
}

TEST(FreeDiskBytes, OfAFileSystemWithoutBlocksAreNotKnown) {
  EXPECT_EQ(free_disk_bytes("/proc/self/none"), std::nullopt);
  EXPECT_NO_THROW(expect_disk_space("/proc", kEndless, "it", "nothing"));
}

TEST(ExpectDiskSpace, SaysWhatNeedsHowMuchWhereAndWhatToDo) {
  const TemporaryFolder folder;
  EXPECT_NO_THROW(expect_disk_space(folder.path(), 1, "a byte", ""));
  try {
    expect_disk_space(folder / "run", kEndless, "checkpoint-100", "free some space, or set save_total_limit");
    FAIL() << "so large a disk";
  } catch (const IoError& error) {
    EXPECT_THAT(error.message(), AllOf(HasSubstr("checkpoint-100 needs 4294967296.0 GiB, and "), HasSubstr(" are free there; free some space, or set")));
    EXPECT_EQ(error.place().file, (folder / "run").string());
  }
}

TEST(DiskBytesText, HasTheUnitThatFits) {
  EXPECT_EQ(disk_bytes_text(0), "0 KiB");
  EXPECT_EQ(disk_bytes_text(7000), "7 KiB");
  EXPECT_EQ(disk_bytes_text(int64_t{35} << 20), "35.0 MiB");
  EXPECT_EQ(disk_bytes_text((int64_t{1} << 30) + (int64_t{1} << 28)), "1.2 GiB");
}

}  // namespace
}  // namespace nibble
