// The layer itself: that it sees each way of changing a file, and does what it says, no more and no less.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/faults/faulty_run.h"

namespace nibble::faults {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using testing::ElementsAre;

class FaultLayer : public testing::Test {
 protected:
  // The probe's words, "@x" being the file x of the watched folder.
  FaultyResult probe(std::vector<std::string> words, const FaultChoice& fault = {}, const std::string& free_space = "") {
    fs::create_directories(home_ / "w");
    for (std::string& word : words) {
      if (word.starts_with('@')) word = (home_ / "w" / word.substr(1)).string();
    }
    return run_with_faults(home_.path(), words, {"w"}, fault, free_space);
  }
  static std::vector<std::string> kinds(const FaultyResult& result) {
    std::vector<std::string> all;
    for (const TracedOperation& operation : result.trace) all.push_back(operation.kind + " " + fs::path(operation.path).filename().string());
    return all;
  }
  fs::path operator/(const std::string& name) const { return home_ / "w" / name; }

  test::TemporaryFolder home_;
};

TEST_F(FaultLayer, SeesEachWayOfChangingAFile) {
  EXPECT_THAT(kinds(probe({"put", "@a", "text", "more", "@a", "text", "vector", "@a", "text", "size", "@a", "3", "reserve", "@a", "9", "sync", "@a"})),
              ElementsAre("create a", "write a", "write a", "write a", "resize a", "resize a", "sync a"));
  EXPECT_THAT(kinds(probe({"stream", "@s", "text", "copy", "@s", "@t", "rename", "@t", "@u", "remove", "@u"})),
              ElementsAre("create s", "write s", "create t", "write t", "rename t", "unlink u"));
  EXPECT_THAT(kinds(probe({"make", "@d/e", "put", "@d/e/f", "", "sync", "@d", "remove_all", "@d"})),
              ElementsAre("mkdir d", "mkdir e", "create f", "sync d", "unlink f", "rmdir e", "rmdir d"));
  EXPECT_THAT(kinds(probe({"put", "@x", "1", "hard", "@x", "@y", "soft", "@x", "@z", "swap", "@x", "@y", "temporary", "@"})),
              ElementsAre("create x", "write x", "link y", "link z", "rename x", testing::StartsWith("create made-"), testing::StartsWith("unlink made-")));
}

TEST_F(FaultLayer, LeavesOtherFoldersAlone) {
  const auto result = probe({"put", (home_ / "other").string(), "text", "put", "@a", "text"}, {"kill", 1});
  EXPECT_EQ(result.program.exit_code, 128 + SIGKILL);
  EXPECT_EQ(file_bytes(home_ / "other"), "text");
  EXPECT_FALSE(fs::exists(*this / "a"));
}

TEST_F(FaultLayer, KillsBeforeAfterAndInTheMiddleOfAWrite) {
  const std::vector<std::string> words{"put", "@a", "0123456789", "put", "@b", ""};
  EXPECT_EQ(probe(words, {"kill", 2}).program.exit_code, 128 + SIGKILL);
  EXPECT_EQ(file_bytes(*this / "a"), "");
  EXPECT_EQ(probe(words, {"kill_after", 2}).program.exit_code, 128 + SIGKILL);
  EXPECT_EQ(file_bytes(*this / "a"), "0123456789");
  EXPECT_EQ(probe(words, {"half_kill", 2}).program.exit_code, 128 + SIGKILL);
  EXPECT_EQ(file_bytes(*this / "a"), "01234");
  EXPECT_FALSE(fs::exists(*this / "b"));
}

TEST_F(FaultLayer, FailsOneOperationOrAllThatFollow) {
  const std::vector<std::string> words{"put", "@a", "0123456789", "rename", "@a", "@b", "remove", "@b", "put", "@c", "x"};
  EXPECT_EQ(probe(words, {"eio", 3}).program.out, fmt::format("rename: {}\n", EIO));
  EXPECT_EQ(probe(words, {"enospc", 2}).program.out, fmt::format("put: {}\n", ENOSPC));
  EXPECT_EQ(file_bytes(*this / "c"), "x");
  EXPECT_EQ(probe(words, {"half_eio", 2}).program.out, fmt::format("put: {}\n", EIO));
  // A full disk still removes; a dead one does not.
  EXPECT_EQ(probe(words, {"enospc_on", 4}).program.out, fmt::format("put: {}\n", ENOSPC));
  EXPECT_EQ(probe(words, {"eio_on", 3}).program.out, fmt::format("rename: {0}\nremove: {0}\nput: {0}\n", EIO));
}

TEST_F(FaultLayer, WritesLessOrInterruptsAndTheWriterGoesOn) {
  for (const char* fault : {"short_all", "eintr_all"}) {
    const auto result = probe({"put", "@a", "0123456789", "more", "@a", "abc"}, {fault, 0});
    EXPECT_EQ(result.program.out, "");
    EXPECT_EQ(file_bytes(*this / "a"), "0123456789abc");
    EXPECT_GE(kinds(result).size(), 5u) << "three are enough where a write writes all";
  }
}

TEST_F(FaultLayer, APowerCutTakesBytesThatWereNotSynced) {
  const std::vector<std::string> words{"put", "@a", "0123456789", "sync", "@a", "more", "@a", "more", "rename", "@a", "@b", "put", "@c", "lost", "put", "@d", ""};
  EXPECT_EQ(probe(words, {"cut_names", 7}).program.exit_code, 128 + SIGKILL);
  EXPECT_EQ(file_bytes(*this / "b"), "0123456789") << "the rename stays, what was written after the sync does not";
  EXPECT_EQ(file_bytes(*this / "c"), "");
  fs::remove_all(home_ / "w");
  EXPECT_EQ(probe(words, {"cut_names", 8}).program.exit_code, 128 + SIGKILL);
  EXPECT_EQ(file_bytes(*this / "b"), std::string("0123456789") + std::string(4, '\0')) << "or its place reads as zeros";
}

TEST_F(FaultLayer, APowerCutTakesNamesWhoseFolderWasNotSynced) {
  test::put_file(*this / "old", "old");
  test::put_file(*this / "new", "new");
  test::put_file(*this / "d/inner", "inner");
  const std::vector<std::string> change{"rename", "@new", "@old", "remove_all", "@d", "make", "@e", "put", "@e/f", "x", "sync", "@e/f", "sync", "@e"};
  auto words = change;
  words.insert(words.end(), {"put", "@end", ""});
  EXPECT_EQ(probe(words, {"cut_all", 9}).program.exit_code, 128 + SIGKILL);
  EXPECT_EQ(file_bytes(*this / "old"), "old");
  EXPECT_EQ(file_bytes(*this / "new"), "new");
  EXPECT_EQ(file_bytes(*this / "d/inner"), "inner");
  EXPECT_FALSE(fs::exists(*this / "e"));
  words = change;
  words.insert(words.end(), {"sync", "@", "put", "@end", ""});
  EXPECT_EQ(probe(words, {"cut_all", 10}).program.exit_code, 128 + SIGKILL);
  EXPECT_EQ(file_bytes(*this / "old"), "new") << "the folder was synced: all of it stays";
  EXPECT_FALSE(fs::exists(*this / "d"));
  EXPECT_EQ(file_bytes(*this / "e/f"), "x");
}

TEST_F(FaultLayer, APowerCutMayTakeARenameAndKeepTheRemovalAfterIt) {
  test::put_file(*this / "d/inner", "inner");
  EXPECT_EQ(probe({"rename", "@d", "@e", "remove", "@e/inner", "put", "@end", ""}, {"cut_removed", 3}).program.exit_code, 128 + SIGKILL);
  EXPECT_TRUE(fs::is_empty(*this / "d"));
  EXPECT_FALSE(fs::exists(*this / "e"));
}

TEST_F(FaultLayer, SaysWhatIsFree) {
  EXPECT_THAT(probe({"free", "@"}, {}, "1048576").program.out, testing::StartsWith("free 1048576 of "));
  EXPECT_EQ(probe({"free", "@"}, {}, "none").program.out, "free 0 of 0\n");
  EXPECT_EQ(probe({"free", "@"}, {}, "fail").program.out, fmt::format("free: {}\n", ENOSYS));
}

TEST_F(FaultLayer, LetsADiskBeWatchedThatFillsUp) {
  EXPECT_EQ(probe({"watch", "@"}, {}, "1048576").program.out, "it has 64.0 MiB already and is not done, and 1.0 MiB are free there; make room\n");
  for (const char* free : {"1048576000", "none", "fail"}) EXPECT_EQ(probe({"watch", "@"}, {}, free).program.out, "");
}

}  // namespace
}  // namespace nibble::faults
