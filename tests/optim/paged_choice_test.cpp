// Unit: optim/paged_choice. Which memory, how much of it, and the refusals.
#include "optim/paged_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/optim/paged_fake_runtime.h"

namespace nibble::optim {
namespace {

constexpr int64_t kMiB = 1 << 20;

PagedChoice choose(const test::FakeDevice& device, PagedOptions options, int64_t arena_bytes) {
  const test::FakeRuntime runtime(device);
  options.queue = runtime.queue();
  return choose_paged_memory(options, arena_bytes);
}

TEST(ChoosePagedMemory, TakesManagedMemoryWhereTheDevicePagesIt) {
  const PagedChoice choice = choose({.free_bytes = 100 * kMiB}, {}, 21 * kMiB);
  EXPECT_EQ(choice.memory, PagedMemory::kManaged);
  EXPECT_EQ(choice.budget_bytes, 22 * kMiB);
}

TEST(ChoosePagedMemory, StagesWhereTheDeviceDoesNotPage) {
  const PagedChoice choice = choose({.managed = false, .free_bytes = 10 * kMiB + 1}, {}, 64 * kMiB);
  EXPECT_EQ(choice.memory, PagedMemory::kStaged);
  EXPECT_EQ(choice.budget_bytes, 10 * kMiB);
}

TEST(ChoosePagedMemory, StagesWhereThatWasAskedFor) {
  PagedOptions options;
  options.staged = true;
  const PagedChoice choice = choose({.free_bytes = 100 * kMiB}, options, 300 * kMiB);
  EXPECT_EQ(choice.memory, PagedMemory::kStaged) << "no managed memory, so nothing to oversubscribe";
  EXPECT_EQ(choice.budget_bytes, 100 * kMiB);
}

TEST(ChoosePagedMemory, RoundsTheBudgetDownToPages) {
  PagedOptions options;
  options.budget_bytes = 7 * kMiB;
  EXPECT_EQ(choose({}, options, 64 * kMiB).budget_bytes, 6 * kMiB);
}

TEST(ChoosePagedMemory, RefusesMoreManagedMemoryThanIsFree) {
  try {
    choose({.free_bytes = 100 * kMiB}, {}, 101 * kMiB);
    FAIL() << "oversubscribed without being allowed to";
  } catch (const OutOfMemoryError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("101 MiB of managed memory"),
                                             testing::HasSubstr("Fake Card has 100 of 200 MiB free"),
                                             testing::HasSubstr("paged_oversubscribe: true"), testing::HasSubstr("lora_r")));
  }
}

TEST(ChoosePagedMemory, OversubscribesWhereAllowedButKeepsTheBudgetToWhatIsFree) {
  PagedOptions options;
  options.oversubscribe = true;
  const PagedChoice choice = choose({.free_bytes = 100 * kMiB}, options, 300 * kMiB);
  EXPECT_EQ(choice.memory, PagedMemory::kManaged);
  EXPECT_EQ(choice.budget_bytes, 100 * kMiB);
}

TEST(ChoosePagedMemory, ReportsADeviceThatDoesNotAnswer) {
  test::FakeRuntime runtime({});
  PagedOptions options;
  options.queue = runtime.queue();
  runtime.fail_call(1);
  try {
    choose_paged_memory(options, kMiB);
    FAIL() << "the failure was lost";
  } catch (const CudaError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("cudaMemGetInfo(&free_bytes, &total_bytes) failed"));
  }
}

TEST(ChoosePagedMemory, OnACpuPagesToAFileUnderABudgetOnly) {
  PagedOptions options;
  options.folder = "runs/x";
  EXPECT_EQ(choose_paged_memory(options, 64 * kMiB).memory, PagedMemory::kHost);
  options.budget_bytes = 64 * kMiB;
  EXPECT_EQ(choose_paged_memory(options, 64 * kMiB).memory, PagedMemory::kHost);
  options.budget_bytes = 63 * kMiB;
  const PagedChoice choice = choose_paged_memory(options, 64 * kMiB);
  EXPECT_EQ(choice.memory, PagedMemory::kFile);
  EXPECT_EQ(choice.budget_bytes, 62 * kMiB);
}

TEST(ChoosePagedMemory, NeedsAFolderForAFile) {
  PagedOptions options;
  options.budget_bytes = 10 * kMiB;
  try {
    choose_paged_memory(options, 64 * kMiB);
    FAIL() << "a file without a folder";
  } catch (const OutOfMemoryError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("is 64 MiB"), testing::HasSubstr("(paged_budget_mib) 10 MiB"),
                                             testing::HasSubstr("output_dir")));
  }
}

TEST(PagedMemoryName, IsTheOneInDocuments) {
  EXPECT_STREQ(paged_memory_name(PagedMemory::kManaged), "managed");
  EXPECT_STREQ(paged_memory_name(PagedMemory::kStaged), "staged");
  EXPECT_STREQ(paged_memory_name(PagedMemory::kHost), "host");
  EXPECT_STREQ(paged_memory_name(PagedMemory::kFile), "file");
}

}  // namespace
}  // namespace nibble::optim
