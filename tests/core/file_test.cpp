#include "core/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <string>

#include "core/error.h"
#include "tests/support/temporary_folder.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using test::put_file;
using test::TemporaryFolder;
using ::testing::HasSubstr;

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

template <typename Statement>
std::string error_of(Statement statement) {
  try {
    statement();
  } catch (const IoError& error) {
    return error.what();
  }
  return "no error";
}

// A pipe's other end may never come, and a device never ends.
TEST(Files, WhatIsNoRegularFileIsRefusedAtOnce) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const fs::path& path : {folder / "pipe", fs::path("/dev/zero"), fs::path("/dev/null")}) {
    EXPECT_THAT(error_of([&] { MappedFile file(path); }), HasSubstr("not a regular file")) << path;
    EXPECT_THAT(error_of([&] { read_text(path); }), HasSubstr("not a regular file")) << path;
    EXPECT_THAT(error_of([&] { file_xxh3_128(path); }), HasSubstr("not a regular file")) << path;
  }
  EXPECT_THAT(error_of([&] { read_text(folder.path()); }), HasSubstr("it is a folder"));
}

TEST(MappedFile, HoldsTheBytesAlsoAfterAMoveAndAfterTheyWereDropped) {
  const TemporaryFolder folder;
  const std::string text = std::string(10000, 'x') + "end";
  put_file(folder / "a", text);
  MappedFile first(folder / "a");
  first.drop(0, first.size());
  first.drop(-5, 10);
  first.drop(20000, 10);
  EXPECT_EQ(text_of(first), text);
  MappedFile second = std::move(first);
  EXPECT_EQ(text_of(second), text);
  EXPECT_EQ(second.size(), 10003);
  EXPECT_EQ(first.size(), 0);
}

TEST(MappedFile, TakesAnEmptyFile) {
  const TemporaryFolder folder;
  put_file(folder / "empty", "");
  EXPECT_EQ(MappedFile(folder / "empty").bytes().size(), 0u);
}

TEST(MappedFile, NamesPathAndReasonWhereItCannotRead) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { MappedFile(folder / "none"); }), HasSubstr("none: cannot open the file: No such file"));
  EXPECT_THAT(error_of([&] { MappedFile(folder.path()); }), HasSubstr("it is a folder"));
  EXPECT_THAT(error_of([&] { read_text("/dev/null"); }), HasSubstr("not a regular file"));
}

TEST(FileWriter, WritesInOrderAcrossItsBufferAndHashesTheSameBytes) {
  const TemporaryFolder folder;
  std::string expected;
  FileWriter writer(folder / "a");
  const auto write = [&](size_t size, char filled_with) {
    const std::string piece(size, filled_with);
    writer.write(piece);
    expected += piece;
    EXPECT_EQ(writer.size(), static_cast<int64_t>(expected.size()));
  };
  for (int i = 0; i < 3000; ++i) write(static_cast<size_t>(i), static_cast<char>('a' + i % 26));
  // Larger than what is gathered, and than what goes to the disk at a time, with and without something gathered before.
  for (const size_t size : {size_t{3} << 20, (size_t{17} << 20) + 5, size_t{1} << 20, size_t{7}, size_t{33} << 20}) write(size, 'Z');
  const std::string hash = writer.xxh3_128();
  writer.close();
  EXPECT_TRUE(file_bytes(folder / "a") == expected);
  EXPECT_EQ(hash, xxh3_128(expected));
  EXPECT_EQ(hash, file_xxh3_128(folder / "a"));
}

TEST(FileWriter, SaysThatTheDiskIsFull) {
  // /dev/full refuses every write as a full disk does.
  const std::string message = error_of([] {
    FileWriter writer("/dev/full");
    writer.write("text");
    writer.close();
  });
  EXPECT_THAT(message, HasSubstr("/dev/full"));
  EXPECT_THAT(message, HasSubstr("disk or quota is full"));
  EXPECT_THAT(message, HasSubstr("No space left on device"));
}

TEST(FileWriter, NamesTheFolderThatIsMissing) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { FileWriter writer(folder / "none" / "a"); }), HasSubstr("cannot create the file: No such file"));
}

TEST(Xxh3, GivesThePublishedValues) {
  // xxHash's own test vectors: the empty input.
  EXPECT_EQ(xxh3_128(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_NE(xxh3_128("a"), xxh3_128("b"));
}

TEST(StagedFolder, AppearsWholeOrNotAtAll) {
  const TemporaryFolder folder;
  {
    StagedFolder staged(folder / "deep/out");
    put_file(staged.path() / "a", "1");
    EXPECT_FALSE(fs::exists(folder / "deep/out"));
  }
  EXPECT_TRUE(fs::is_empty(folder / "deep"));
  StagedFolder staged(folder / "deep/out/");
  put_file(staged.path() / "sub/a", "1");
  staged.commit();
  EXPECT_EQ(file_bytes(folder / "deep/out/sub/a"), "1");
  EXPECT_FALSE(fs::exists(StagedFolder::staging_name(folder / "deep/out")));
}

TEST(StagedFolder, ReplacesAFolderOfItsName) {
  const TemporaryFolder folder;
  put_file(folder / "out/old", "old");
  StagedFolder staged(folder / "out");
  put_file(staged.path() / "new", "new");
  EXPECT_TRUE(fs::exists(folder / "out/old"));
  staged.commit();
  EXPECT_FALSE(fs::exists(folder / "out/old"));
  EXPECT_EQ(file_bytes(folder / "out/new"), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

TEST(StagedFolder, StartsOverWhatAKilledRunLeft) {
  const TemporaryFolder folder;
  put_file(StagedFolder::staging_name(folder / "out") / "half", "half");
  StagedFolder staged(folder / "out");
  EXPECT_TRUE(fs::is_empty(staged.path()));
  staged.commit();
  put_file(folder / ".x.partial/half", "half");
  put_file(folder / ".partial", "a name of its own");
  put_file(folder / ".file.partial", "half");
  StagedFolder::remove_partial(folder.path());
  EXPECT_FALSE(fs::exists(folder / ".x.partial"));
  EXPECT_FALSE(fs::exists(folder / ".file.partial"));
  EXPECT_TRUE(fs::exists(folder / ".partial"));
  EXPECT_TRUE(fs::exists(folder / "out"));
  StagedFolder::remove_partial(folder / "none");
}

TEST(WriteTextAtomic, ReplacesTheFileAndLeavesNothingElse) {
  const TemporaryFolder folder;
  put_file(folder / "a", "a much longer old text");
  write_text_atomic(folder / "a", "new");
  EXPECT_EQ(read_text(folder / "a"), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
  put_file(folder / "folder/x", "");
  EXPECT_THAT(error_of([&] { write_text_atomic(folder / "folder", "text"); }), HasSubstr("cannot give the file its name"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2);
}

TEST(WriteTextAtomic, KeepsTheOldFileWhereTheNewOneDoesNotFit) {
  const TemporaryFolder folder;
  put_file(folder / "a", "old");
  // A limit on file sizes acts as a full disk does, when its signal is ignored.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 1000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = error_of([&] { write_text_atomic(folder / "a", std::string(5000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr("File too large"));
  EXPECT_EQ(read_text(folder / "a"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace nibble
