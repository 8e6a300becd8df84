// Units: trainer/run_folder
// A run whose folder goes away under it ends with a message; one that was killed leaves a lock that stops nobody.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/run_binary.h"

namespace nibble::faults {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class LostFolder : public testing::Test {
 protected:
  // A run without an end, once it has logged a row.
  std::unique_ptr<test::Program> running() {
    auto program = std::make_unique<test::Program>(home_.path(), shop_.train_arguments("run", {"max_steps=1000000", "save_steps=0"}));
    while (program->running() && !(fs::exists(shop_ / "run/metrics.jsonl") && fs::file_size(shop_ / "run/metrics.jsonl") > 0)) ::usleep(1000);
    return program;
  }
  void expect_end(test::Program& program, const std::string& message) {
    for (int wait = 0; wait < 60'000 && program.running(); ++wait) ::usleep(1000);
    ASSERT_FALSE(program.running()) << "it goes on without its folder";
    const auto result = program.wait();
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_EQ(result.error().at("error"), "IoError");
    EXPECT_THAT(result.error().at("message"), HasSubstr(message));
    EXPECT_THAT(result.error().at("file").dump(), HasSubstr("run"));
  }

  test::RunWorkshop shop_;
  test::TemporaryFolder home_;  // of the run in the background
};

TEST_F(LostFolder, DeletedEndsTheRun) {
  const auto program = running();
  fs::remove_all(shop_ / "run");
  expect_end(*program, "deleted, moved or replaced");
}

TEST_F(LostFolder, ReplacedByAnotherEndsTheRunAndLeavesTheOther) {
  const auto program = running();
  fs::rename(shop_ / "run", shop_ / "moved");
  test::put_file(shop_ / "run/mine", "mine");
  expect_end(*program, "deleted, moved or replaced");
  EXPECT_EQ(test::file_bytes(shop_ / "run/mine"), "mine");
  EXPECT_EQ(std::distance(fs::directory_iterator(shop_ / "run"), fs::directory_iterator()), 1);
}

TEST_F(LostFolder, WhoseLockAnotherRunTookEndsTheRun) {
  const auto program = running();
  fs::remove(shop_ / "run/run.lock");
  ::usleep(50'000);
  EXPECT_TRUE(program->running()) << "the missing lock alone harms nobody";
  const auto second = shop_.nibble({"train", shop_("run.yaml"), "--set", "output_dir=" + shop_("run"), "--set", "max_steps=2"});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  expect_end(*program, "another run writes to this folder now");
}

TEST_F(LostFolder, LockedByARunThatWasKilledIsFree) {
  const auto program = running();
  const auto refused = shop_.train("run", {"max_steps=2"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.error().at("message"), HasSubstr("another run is writing here (pid "));
  program->send(SIGKILL);
  EXPECT_EQ(program->wait().exit_code, 128 + SIGKILL);
  const auto next = shop_.train("run", {"max_steps=2"});
  EXPECT_EQ(next.exit_code, 0) << next.err;
}

}  // namespace
}  // namespace nibble::faults
