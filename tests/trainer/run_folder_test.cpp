#include "trainer/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "core/error.h"

namespace nibble::trainer {
namespace {
namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class RunFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(::testing::TempDir()) / (std::string("nibble_run_folder_") + info->name());
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }
  static std::string slurp(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  fs::path root_;
};

TEST_F(RunFolderTest, CreatesParentsAndTellsWhoHoldsIt) {
  const RunFolder run(root_ / "a" / "b");
  EXPECT_THAT(slurp(root_ / "a" / "b" / "run.lock"),
              MatchesRegex("pid " + std::to_string(::getpid()) + ", started 20[0-9-]+T[0-9:]+Z, on .*\n"));
}

TEST_F(RunFolderTest, ASecondRunIsRefusedAndToldByWhom) {
  const RunFolder first(root_ / "run");
  try {
    const RunFolder second(root_ / "run");
    FAIL() << "two runs in one folder";
  } catch (const IoError& error) {
    EXPECT_THAT(error.message(), HasSubstr("pid " + std::to_string(::getpid())));
    EXPECT_THAT(error.message(), HasSubstr("another output_dir"));
  }
}

TEST_F(RunFolderTest, IsFreeAgainWhenTheRunEnds) {
  { const RunFolder first(root_ / "run"); }
  EXPECT_NO_THROW(RunFolder(root_ / "run"));
}

TEST_F(RunFolderTest, AKilledRunDoesNotBlockTheNext) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const RunFolder held(root_ / "run");
    char byte = 'r';
    if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THROW(RunFolder(root_ / "run"), IoError);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_NO_THROW(RunFolder(root_ / "run"));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(RunFolderTest, ALockFileOfAnotherAgeDoesNotBlock) {
  fs::create_directories(root_ / "run");
  std::ofstream(root_ / "run" / "run.lock") << std::string(10000, 'x');
  const RunFolder run(root_ / "run");
  EXPECT_THAT(slurp(root_ / "run" / "run.lock"), ::testing::StartsWith("pid "));
}

TEST_F(RunFolderTest, NamesAFolderThatCannotBeMade) {
  std::ofstream(root_ / "file") << "x";
  for (const fs::path& path : {root_ / "file", root_ / "file" / "run", fs::path("/proc/nibble_run")}) {
    try {
      const RunFolder run(path);
      FAIL() << path;
    } catch (const IoError& error) {
      EXPECT_THAT(error.message(), HasSubstr("output_dir")) << error.what();
      EXPECT_THAT(error.place().file, HasSubstr(path.string()));
      EXPECT_EQ(error.exit_code(), ExitCode::kRunFailed);
    }
  }
}

TEST_F(RunFolderTest, WritesTheConfigWhole) {
  RunFolder run(root_ / "run");
  run.write_config("seed: 1\n");
  run.write_config("seed: 2\n");
  EXPECT_EQ(slurp(run.config_path()), "seed: 2\n");
}

TEST_F(RunFolderTest, LogsLinesWithTheTimeAcrossRuns) {
  RunFolder(root_ / "run").log("first");
  RunFolder run(root_ / "run");
  run.log("second");
  EXPECT_THAT(slurp(run.log_path()), MatchesRegex("20[0-9-]+T[0-9:]+Z first\n20[0-9-]+T[0-9:]+Z second\n"));
}

}  // namespace
}  // namespace nibble::trainer
