#include "core/amx.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace nibble {
namespace {

TEST(Amx, IsUsableOnlyWhereTheCpuClaimsIt) {
  if (amx_bf16_usable()) {
    EXPECT_TRUE(amx_claim().instructions);
  }
  EXPECT_EQ(amx_bf16_usable(), amx_bf16_usable());
}

// In a process of its own, since the answer holds for the whole of one.
void exit_with_answer_under(const char* limit) {
  ::setenv("ONEDNN_MAX_CPU_ISA", limit, /*overwrite=*/1);
  std::_Exit(amx_bf16_usable() ? 1 : 0);
}

TEST(AmxDeathTest, IsNotUsedBeyondOneDnnsLimit) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const char* limit : {"AVX2", "AVX512_CORE_BF16", "avx512_core"}) {
    EXPECT_EXIT(exit_with_answer_under(limit), testing::ExitedWithCode(0), "") << limit;
  }
}

TEST(AmxDeathTest, ALimitThatHasAmxChangesNothing) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const int without = amx_bf16_usable() ? 1 : 0;
  for (const char* limit : {"AVX512_CORE_AMX", "ALL", "default", ""}) {
    EXPECT_EXIT(exit_with_answer_under(limit), testing::ExitedWithCode(without), "") << limit;
  }
  if (!amx_claim().palettes) {  // what nibble itself set, inherited
    EXPECT_EXIT(exit_with_answer_under(kOneDnnWithoutAmx), testing::ExitedWithCode(without), "");
  }
}

}  // namespace
}  // namespace nibble
