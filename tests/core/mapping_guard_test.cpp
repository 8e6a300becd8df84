#include "core/mapping_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "core/file.h"
#include "tests/support/temporary_folder.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;
using test::put_file;
using test::TemporaryFolder;
using ::testing::HasSubstr;

void set_time(const fs::path& file, std::chrono::seconds later) { fs::last_write_time(file, fs::last_write_time(file) + later); }

TEST(ExpectUnchanged, NoticesWhatWasWrittenInPlace) {
  const TemporaryFolder folder;
  put_file(folder / "a", std::string(100, 'x'));
  const MappedFile file(folder / "a");
  EXPECT_NO_THROW(expect_unchanged(file.bytes()));
  put_file(folder / "a", std::string(100, 'y'));
  set_time(folder / "a", std::chrono::seconds(2));
  EXPECT_THROW(expect_unchanged(file.bytes()), FormatError);
  fs::resize_file(folder / "a", 40);
  try {
    expect_unchanged(file.bytes());
    FAIL() << "a shorter file went unnoticed";
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), HasSubstr("it had 100 bytes and has 40 now"));
  }
}

TEST(ExpectUnchanged, LetsAFileBeReplacedRemovedOrMoved) {
  const TemporaryFolder folder;
  put_file(folder / "a", "old");
  put_file(folder / "b", "new one");
  MappedFile file(folder / "a");
  fs::rename(folder / "b", folder / "a");
  EXPECT_NO_THROW(expect_unchanged(file.bytes()));
  fs::remove(folder / "a");
  EXPECT_NO_THROW(expect_unchanged(file.bytes()));
  const MappedFile moved = std::move(file);
  EXPECT_NO_THROW(expect_unchanged(moved.bytes()));
}

// Death tests fork: the handler and the limit stay in the child.
TEST(ExitOnLostMapping, SaysWhichFileBecameShorter) {
  const TemporaryFolder folder;
  put_file(folder / "weights", std::string(3 << 16, 'x'));
  const auto touch_what_is_gone = [&] {
    exit_on_lost_mapping([](const FormatError& error) { return std::string("last words: ") + error.what() + "\n"; });
    const MappedFile file(folder / "weights");
    fs::resize_file(folder / "weights", 10);
    const volatile std::byte* end = file.bytes().data() + file.size() - 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(std::to_integer<int>(*end)));
  };
  EXPECT_EXIT(touch_what_is_gone(), ::testing::ExitedWithCode(5), "last words: .*weights: the file became shorter while it was read");
}

TEST(ExitOnLostMapping, LeavesOtherFaultsAsTheyWere) {
  const auto raise_another = [] {
    exit_on_lost_mapping([](const FormatError&) { return std::string("wrong"); });
    ::raise(SIGBUS);
    ::raise(SIGBUS);
  };
  EXPECT_EXIT(raise_another(), ::testing::KilledBySignal(SIGBUS), "");
}

TEST(MappedFile, ManyAreKnownAndForgotten) {
  const TemporaryFolder folder;
  put_file(folder / "a", "text");
  for (int round = 0; round < 3; ++round) {
    std::vector<MappedFile> files;
    for (int i = 0; i < 1100; ++i) files.emplace_back(folder / "a");  // more than are entered
    EXPECT_NO_THROW(expect_unchanged(files.front().bytes()));
    EXPECT_NO_THROW(expect_unchanged(files.back().bytes()));
  }
  const MappedFile file(folder / "a");
  set_time(folder / "a", std::chrono::seconds(2));
  EXPECT_THROW(expect_unchanged(file.bytes()), FormatError);
}

}  // namespace
}  // namespace nibble
