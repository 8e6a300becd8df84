#include "core/verified_stamp.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "tests/support/temporary_folder.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

constexpr auto kLongerThanATick = std::chrono::milliseconds(130);

struct StampedFile {
  test::TemporaryFolder folder;
  fs::path path = folder / "weights.safetensors";

  StampedFile() {
    write("all is well");
    std::this_thread::sleep_for(kLongerThanATick);
  }
  void write(const std::string& text) const { std::ofstream(path, std::ios::binary | std::ios::trunc) << text; }
};

TEST(VerifiedStamp, VouchesForAFileUntilItChanges) {
  const StampedFile file;
  EXPECT_FALSE(is_vouched_for(file.path));
  vouch_for(file.path, file_identity(file.path));
  EXPECT_TRUE(is_vouched_for(file.path));
  EXPECT_TRUE(is_vouched_for(file.path)) << "looking changes nothing";
  file.write("all is hell");  // as long as before
  std::this_thread::sleep_for(kLongerThanATick);
  EXPECT_FALSE(is_vouched_for(file.path));
}

TEST(VerifiedStamp, IsNotDeceivedByTheTimeOfWriting) {
  const StampedFile file;
  vouch_for(file.path, file_identity(file.path));
  const auto written = fs::last_write_time(file.path);
  file.write("all is hell");
  fs::last_write_time(file.path, written);
  std::this_thread::sleep_for(kLongerThanATick);
  EXPECT_FALSE(is_vouched_for(file.path));
}

TEST(VerifiedStamp, DoesNotVouchForWhatChangedJustNow) {
  const StampedFile file;
  // A busy machine may take longer than a tick from the change to the question: then it is asked again.
  std::string identity;
  std::chrono::steady_clock::duration between;
  do {
    const auto changed = std::chrono::steady_clock::now();
    fs::permissions(file.path, fs::perms::owner_read | fs::perms::owner_write);
    identity = file_identity(file.path);
    between = std::chrono::steady_clock::now() - changed;
  } while (between > std::chrono::milliseconds(90));
  EXPECT_EQ(identity, "");
  vouch_for(file.path, identity);
  EXPECT_FALSE(fs::exists(stamp_path(file.path)));
  EXPECT_FALSE(is_vouched_for(file.path));
}

TEST(VerifiedStamp, KnowsOneFileFromAnother) {
  const StampedFile file, other;
  vouch_for(file.path, file_identity(file.path));
  fs::copy_file(stamp_path(file.path), stamp_path(other.path));
  EXPECT_FALSE(is_vouched_for(other.path));
  EXPECT_EQ(file_identity(file.folder / "not there"), "");
  EXPECT_FALSE(is_vouched_for(file.folder / "not there"));
}

TEST(VerifiedStamp, HalfANoteVouchesForNothing) {
  const StampedFile file;
  const std::string identity = file_identity(file.path);
  vouch_for(file.path, identity.substr(0, identity.size() / 2));
  EXPECT_FALSE(is_vouched_for(file.path));
}

}  // namespace
}  // namespace nibble
