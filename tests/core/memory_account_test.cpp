#include "core/memory_account.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace nibble {
namespace {

constexpr MemorySide kHost = MemorySide::kHost, kDevice = MemorySide::kDevice;

TEST(MemoryAccount, CountsEachPartOnEachSide) {
  MemoryAccount account;
  account.add(MemoryPart::kBase, kHost, 100);
  account.add(MemoryPart::kBase, kDevice, 7);
  account.add(MemoryPart::kLogits, kHost, 50);
  account.add(MemoryPart::kLogits, kHost, -50);
  account.add(MemoryPart::kPanels, kHost, 30);
  EXPECT_EQ(account.in_use(MemoryPart::kBase, kHost), 100);
  EXPECT_EQ(account.in_use(MemoryPart::kBase, kDevice), 7);
  EXPECT_EQ(account.in_use(MemoryPart::kLogits, kHost), 0);
  EXPECT_EQ(account.peak(MemoryPart::kLogits, kHost), 50);
  EXPECT_EQ(account.total(kHost), 130);
  EXPECT_EQ(account.peak_total(kHost), 150);  // at one moment, not the sum of the peaks
}

TEST(MemoryAccount, ThreadsReportAtOnce) {
  MemoryAccount account;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        account.add(MemoryPart::kWorkspace, kHost, 3);
        account.add(MemoryPart::kWorkspace, kHost, -2);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(account.total(kHost), 4000);
  EXPECT_GE(account.peak_total(kHost), 4000);
  EXPECT_LE(account.peak_total(kHost), 4000 + 4 * 2);
}

TEST(MemoryShare, GivesBackWhatItHolds) {
  MemoryAccount account;
  {
    MemoryShare share(&account, MemoryPart::kSavedActivations, kHost);
    share.set(10);
    share.set(4);
    EXPECT_EQ(account.total(kHost), 4);
    MemoryShare moved = std::move(share);
    moved.set(6);
    EXPECT_EQ(account.total(kHost), 6);
    MemoryShare other(&account, MemoryPart::kPanels, kHost);
    other.set(1);
    moved = std::move(other);
    EXPECT_EQ(account.in_use(MemoryPart::kSavedActivations, kHost), 0);
  }
  EXPECT_EQ(account.total(kHost), 0);
  EXPECT_EQ(account.peak_total(kHost), 10);
  MemoryShare nobody;
  nobody.set(5);  // without an account it is only remembered
  EXPECT_EQ(nobody.bytes(), 5);
}

// What the message about an exception shows is how things stood when it was thrown.
TEST(MemoryAccount, KeepsItsNumbersWhileAnExceptionPasses) {
  MemoryAccount account;
  try {
    const MemoryStage stage(&account, "training", MemoryPart::kWorkspace);
    MemoryShare share(&account, MemoryPart::kWorkspace, kDevice);
    share.set(8);
    throw std::runtime_error("x");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(account.in_use(MemoryPart::kWorkspace, kDevice), 8);
  EXPECT_STREQ(account.stage(), "training");
}

TEST(MemoryStage, IsTheInnermostOne) {
  MemoryAccount account;
  const std::string first = account.stage();
  {
    const MemoryStage outer(&account, "loading the base", MemoryPart::kBase);
    {
      const MemoryStage inner(&account, "reading", MemoryPart::kHead);
      EXPECT_STREQ(account.stage(), "reading");
      EXPECT_EQ(account.stage_part(), MemoryPart::kHead);
    }
    EXPECT_STREQ(account.stage(), "loading the base");
    EXPECT_EQ(account.stage_part(), MemoryPart::kBase);
  }
  EXPECT_EQ(account.stage(), first);
  const MemoryStage without(nullptr, "x");
}

TEST(MemoryPart, HasTwoNamesOfItsOwn) {
  std::set<std::string_view> names, texts;
  for (size_t i = 0; i < kMemoryParts; ++i) {
    EXPECT_TRUE(names.insert(memory_part_name(static_cast<MemoryPart>(i))).second);
    EXPECT_TRUE(texts.insert(memory_part_text(static_cast<MemoryPart>(i))).second);
  }
  EXPECT_TRUE(names.contains("libraries"));
  EXPECT_FALSE(names.contains(""));
}

TEST(AllocationFailed, SaysWhoAskedForHowMuch) {
  const AllocationFailed error(MemoryPart::kLogits, kDevice, 3 << 20, "cudaMalloc(...) failed");
  EXPECT_EQ(error.message(), "logits asked for 3.0 MiB of device memory and did not get it: cudaMalloc(...) failed");
  EXPECT_EQ(error.exit_code(), ExitCode::kOutOfMemory);
}

TEST(SaysOutOfMemory, KnowsTheWordsOfEachLibrary) {
  for (const char* text : {"[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes.",
                           "CUDA out of memory. Tried to allocate 20.00 MiB.", "cudaMalloc(&p, n) failed: out of memory (cudaErrorMemoryAllocation, x.cu:1)",
                           "could not create a primitive", "model.safetensors: cannot map: Cannot allocate memory", "std::bad_alloc"}) {
    EXPECT_TRUE(says_out_of_memory(text)) << text;
  }
  for (const char* text : {"an illegal memory access was encountered (cudaErrorIllegalAddress)", "no memory of it", ""}) {
    EXPECT_FALSE(says_out_of_memory(text)) << text;
  }
}

}  // namespace
}  // namespace nibble
