#include "core/file_lock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>

#include "core/error.h"
#include "tests/support/temporary_folder.h"

namespace nibble {
namespace {

TEST(FileLock, IsHeldByOneAtATime) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "lock";
  auto first = std::make_unique<FileLock>(path, nullptr);
  EXPECT_TRUE(first->held());
  std::atomic<int> waited{0};
  std::atomic<bool> got{false};
  // Locks belong to the open file, so that a second one in this process stands for one in another.
  std::thread other([&] {
    const FileLock second(path, [&] { ++waited; });
    got = second.held();
  });
  while (waited < 2) std::this_thread::yield();
  EXPECT_FALSE(got);
  first.reset();
  other.join();
  EXPECT_TRUE(got);
}

TEST(FileLock, WaitingCanBeGivenUp) {
  const test::TemporaryFolder folder;
  const FileLock first(folder.path() / "lock", nullptr);
  EXPECT_THROW(FileLock(folder.path() / "lock", [] { throw Interrupted("enough"); }), Interrupted);
  EXPECT_THROW(FileLock(folder.path() / "none" / "lock", nullptr), IoError);
}

}  // namespace
}  // namespace nibble
