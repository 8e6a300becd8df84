#include "core/partial_file.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/temporary_folder.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using test::put_file;
using test::TemporaryFolder;

TEST(PartialFile, IsThereWhenItIsCommittedAndGoneWhenItIsNot) {
  const TemporaryFolder folder;
  const fs::path final_path = folder / "a.bin";
  put_file(final_path, "old");
  fs::path abandoned;
  {
    const PartialFile file(final_path);
    abandoned = file.path();
    put_file(file.path(), "half");
    EXPECT_EQ(file_bytes(final_path), "old");
  }
  EXPECT_FALSE(fs::exists(abandoned));
  PartialFile file(final_path);
  put_file(file.path(), "new");
  file.commit();
  EXPECT_EQ(file_bytes(final_path), "new");
  EXPECT_FALSE(fs::exists(file.path()));
}

TEST(PartialFile, OfTwoWritersHaveTwoNames) {
  const TemporaryFolder folder;
  const PartialFile one(folder / "a"), two(folder / "a");
  EXPECT_NE(one.path(), two.path());
}

TEST(PartialFile, WithoutBytesCannotBeCommitted) {
  const TemporaryFolder folder;
  PartialFile file(folder / "a");
  EXPECT_THROW(file.commit(), IoError);
}

TEST(PartialFile, LeftoversOfThisFileGoAndNoOthers) {
  const TemporaryFolder folder;
  for (const char* name : {".a.1-1.partial", ".a.77.partial", ".ab.1-1.partial", ".a.lock", "a"}) put_file(folder / name, "x");
  PartialFile::remove_leftovers(folder / "a");
  EXPECT_FALSE(fs::exists(folder / ".a.1-1.partial"));
  EXPECT_FALSE(fs::exists(folder / ".a.77.partial"));
  for (const char* name : {".ab.1-1.partial", ".a.lock", "a"}) EXPECT_TRUE(fs::exists(folder / name)) << name;
  PartialFile::remove_leftovers(folder / "nowhere" / "a");
}

}  // namespace
}  // namespace nibble
