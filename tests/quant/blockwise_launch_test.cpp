// Units: quant/blockwise_launch. The kernels' geometry, walked through on the host.
#include "quant/blockwise_launch.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::quant {
namespace {

TEST(DequantizeGeometry, ATileIsReadAndWrittenExactlyOnce) {
  std::vector<int> reads(kDequantizeTile, 0), writes(kDequantizeTile, 0);
  for (int thread = 0; thread < kDequantizeThreads; ++thread) {
    EXPECT_EQ(read_element(thread) / 2 % 16, 0) << "a 16-byte load must be aligned";
    for (int i = 0; i < kThreadElements; ++i) ++reads.at(read_element(thread) + i);
    for (int round = 0; round < kRounds; ++round) {
      for (int i = 0; i < kWordElements; ++i) ++writes.at(write_element(thread, round) + i);
    }
  }
  EXPECT_EQ(reads, std::vector<int>(kDequantizeTile, 1));
  EXPECT_EQ(writes, std::vector<int>(kDequantizeTile, 1));
}

// The word that a thread takes from its warp's 512 staged bytes holds the codes of the elements that it writes.
TEST(DequantizeGeometry, TheStagedWordHoldsTheWrittenElements) {
  std::vector<int> staged(kDequantizeTile / kWordElements);  // first element of each staged word, by its place
  for (int thread = 0; thread < kDequantizeThreads; ++thread) {
    for (int word = 0; word < kRounds; ++word) {
      staged.at(thread * kRounds + word) = read_element(thread) + word * kWordElements;
    }
  }
  for (int thread = 0; thread < kDequantizeThreads; ++thread) {
    const int warp_words = thread / gpu::kWarpThreads * gpu::kWarpThreads * kRounds;
    for (int round = 0; round < kRounds; ++round) {
      EXPECT_EQ(staged.at(warp_words + staged_word(thread % gpu::kWarpThreads, round)), write_element(thread, round));
    }
  }
}

TEST(DequantizeGeometry, NeighboursOfAWarpWriteNeighbouringWords) {
  for (int round = 0; round < kRounds; ++round) {
    for (int lane = 1; lane < gpu::kWarpThreads; ++lane) {
      EXPECT_EQ(write_element(lane, round), write_element(lane - 1, round) + kWordElements);
    }
  }
}

TEST(DequantizeGeometry, FiveBillionElementsFit) {
  const int64_t numel = 5'000'000'000;
  const gpu::LaunchShape shape = dequantize_shape(numel);
  const int64_t last = gpu::tile_begin(shape.blocks - 1, kDequantizeTile);
  EXPECT_LT(last, numel);
  EXPECT_EQ(last + gpu::tile_count(shape.blocks - 1, kDequantizeTile, numel), numel);
  EXPECT_EQ(dequantize_shape(1).blocks, 1u);
}

// Every tile, the mean once, every nested block of scales: each is some ticket's work, and in this order.
TEST(QuantizeGeometry, TicketsCoverAllWorkAroundEveryBoundary) {
  for (int64_t blocksize : {32, 64, 4096}) {
    for (int64_t numel : {1l, 31l, 4096l, 4097l, 32l * 256 * 16, 32l * 256 * 16 + 1, 64l * 256 * 16 + 1, 45'088'768l}) {
      const int64_t blocks = (numel + blocksize - 1) / blocksize, groups = (blocks + kNestedBlocksize - 1) / kNestedBlocksize;
      const QuantizeTickets plain = quantize_tickets(numel, blocksize, false), nested = quantize_tickets(numel, blocksize, true);
      EXPECT_EQ(plain.tiles, (numel + kQuantizeTile - 1) / kQuantizeTile);
      EXPECT_EQ(plain.tickets, plain.tiles);
      EXPECT_EQ(nested.tiles, plain.tiles);
      EXPECT_EQ(nested.groups, groups) << numel << " in blocks of " << blocksize;
      const int64_t for_scales = nested.tickets - nested.tiles - 1;
      EXPECT_GE(for_scales * kScaleGroupsATicket, groups);
      EXPECT_LT((for_scales - 1) * kScaleGroupsATicket, groups);
    }
  }
}

TEST(QuantizeGeometry, FiveBillionElementsFit) {
  const int64_t numel = 5'000'000'000;
  const QuantizeTickets tickets = quantize_tickets(numel, 32, true);
  EXPECT_LE(numel, kMostQuantized);
  EXPECT_EQ(tickets.tiles, 1220704);
  EXPECT_LE(tickets.tiles, int64_t{kRoundTiles} * kMostRounds);
  EXPECT_EQ(quantize_shape(numel, 32, true).blocks, tickets.tickets);
  EXPECT_EQ(quantize_workspace_bytes(numel), 32 + 8 * tickets.tiles);
  EXPECT_EQ(quantize_workspace_bytes(1), 40);
}

}  // namespace
}  // namespace nibble::quant
