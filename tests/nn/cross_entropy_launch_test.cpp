// The geometry of the cross entropy's kernel, walked through on the host.
#include "nn/cross_entropy_launch.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::nn {
namespace {

TEST(CrossEntropyGeometry, EveryLogitHasOneThreadWhereverTheRowBegins) {
  for (const int bytes : {2, 4}) {
    for (uint64_t address = 4096; address < 4096 + 16; address += static_cast<uint64_t>(bytes)) {
      for (int vocab = 1; vocab < 70; ++vocab) {
        const LogitsRow row = logits_row(address, bytes, vocab);
        ASSERT_LT(row.head + row.tail, 16);
        if (row.units > 0) {
          EXPECT_EQ((address + static_cast<uint64_t>(row.head * bytes)) % 16, 0u);
        }
        std::vector<int> owners(static_cast<size_t>(vocab), 0);
        for (int unit = 0; unit < row.units; ++unit) {
          for (int i = 0; i < 8; ++i) ++owners.at(static_cast<size_t>(row.head + 8 * unit + i));
        }
        for (int thread = 0; thread < kCrossEntropyThreads; ++thread) {
          if (const int end = end_element(row, thread); end >= 0) ++owners.at(static_cast<size_t>(end));
        }
        EXPECT_EQ(owners, std::vector<int>(owners.size(), 1)) << vocab << " logits at " << address;
      }
    }
  }
}

TEST(CrossEntropyGeometry, AlignedRowsHaveUnitsOnly) {
  const LogitsRow row = logits_row(1 << 20, 2, 128256);
  EXPECT_EQ(row.head, 0);
  EXPECT_EQ(row.units, 128256 / 8);
  EXPECT_EQ(row.tail, 0);
}

}  // namespace
}  // namespace nibble::nn
