#include "core/durable_names.h"

#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

TEST(MakeFolders, MakesAllThatAreMissingAndLeavesThoseThatAreThere) {
  const TemporaryFolder folder;
  std::error_code error;
  make_folders(folder / "a/b/c/", error);
  EXPECT_FALSE(error) << error.message();
  EXPECT_TRUE(fs::is_directory(folder / "a/b/c"));
  test::put_file(folder / "a/b/file", "x");
  make_folders(folder / "a/b", error);
  EXPECT_FALSE(error);
  EXPECT_EQ(test::file_bytes(folder / "a/b/file"), "x");
}

TEST(SyncFolder, LeavesWhatCannotBeOpenedAlone) {
  const TemporaryFolder folder;
  std::error_code error;
  sync_folder(folder.path(), error);
  sync_folder(folder / "none", error);
  sync_folder("/proc/self", error);
  EXPECT_FALSE(error) << error.message();
}

TEST(MakeFolders, SaysWhatStandsInTheWay) {
  const TemporaryFolder folder;
  test::put_file(folder / "file", "x");
  std::error_code error;
  make_folders(folder / "file/below", error);
  EXPECT_EQ(error, std::errc::not_a_directory);
}

}  // namespace
}  // namespace nibble
