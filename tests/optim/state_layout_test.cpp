#include "optim/state_layout.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace nibble::optim {
namespace {

OptimizerConfig config_of(Optim optim) { return {{}, optim}; }

const std::vector<LayoutParam> kParams{{16, 0}, {5000, 0}, {1, 1}, {4095, 2}, {4096, 2}, {1'000'000, 2}, {257, 0}};

TEST(StateLayout, PartsAreAlignedAscendAndNeverOverlap) {
  for (const Optim optim : {Optim::kAdamwTorch, Optim::kAdamw8bit, Optim::kLion32bit, Optim::kLion8bit}) {
    for (const int64_t alignment : {int64_t{64}, int64_t{4096}}) {
      const StateLayout layout = state_layout(config_of(optim), kParams, alignment);
      int64_t end = 0;
      for (size_t i = 0; i < kParams.size(); ++i) {
        for (const StatePart& part : layout.parts(i)) {
          EXPECT_EQ(part.offset % 64, 0);
          EXPECT_GE(part.offset, end) << i << part.suffix;
          end = part.offset + part.bytes;
        }
      }
      EXPECT_LE(end, layout.bytes);
      EXPECT_LT(layout.bytes - end, 64);
    }
  }
}

TEST(StateLayout, NeighboursOfOneLayerFormAGroup) {
  const StateLayout layout = state_layout(config_of(Optim::kAdamw8bit), kParams, 4096);
  ASSERT_EQ(layout.groups.size(), 4u);  // layers 0, 1, 2, and 0 again
  const size_t first_param[] = {0, 2, 3, 6, 7};
  for (size_t g = 0; g < 4; ++g) {
    const StateGroup& group = layout.groups[g];
    EXPECT_EQ(group.offset % 4096, 0);
    EXPECT_EQ(group.offset, layout.segments[first_param[g]].master);
    for (size_t i = first_param[g]; i < first_param[g + 1]; ++i) {
      for (const StatePart& part : layout.parts(i)) {
        EXPECT_GE(part.offset, group.offset);
        EXPECT_LE(part.offset + part.bytes, group.offset + group.bytes);
      }
    }
    for (size_t c = layout.group_chunks[g]; c < layout.group_chunks[g + 1]; ++c) {
      EXPECT_GE(layout.chunks[c].segment, static_cast<int64_t>(first_param[g]));
      EXPECT_LT(layout.chunks[c].segment, static_cast<int64_t>(first_param[g + 1]));
    }
  }
  EXPECT_EQ(layout.group_chunks.back(), layout.chunks.size());
}

TEST(StateLayout, ChunksCoverEveryElementOnce) {
  const StateLayout layout = state_layout(config_of(Optim::kLion8bit), kParams);
  std::vector<int64_t> next(kParams.size(), 0);
  for (const UpdateChunk& chunk : layout.chunks) {
    const auto i = static_cast<size_t>(chunk.segment);
    EXPECT_EQ(chunk.begin, next[i]);
    EXPECT_EQ(chunk.begin % kChunkElements, 0);
    next[i] += chunk_count(layout.segments[i], chunk);
  }
  for (size_t i = 0; i < kParams.size(); ++i) EXPECT_EQ(next[i], kParams[i].elements);
}

TEST(StateLayout, SmallParametersKeepFp32Moments) {
  const StateLayout layout = state_layout(config_of(Optim::kAdamw8bit), kParams);
  for (size_t i = 0; i < kParams.size(); ++i) {
    EXPECT_EQ(layout.segments[i].absmax_m >= 0, kParams[i].elements >= 4096) << i;
  }
}

// A parameter of five billion elements: offsets beyond 32 bits.
TEST(StateLayout, LargeParametersDoNotOverflow) {
  const int64_t n = 5'000'000'000;
  const StateLayout layout = state_layout(config_of(Optim::kAdamw8bit), {{n, 0}});
  const int64_t blocks = (n + kMomentBlock - 1) / kMomentBlock;
  EXPECT_GE(layout.bytes, n * 6 + blocks * 8);
  EXPECT_LE(layout.bytes, n * 6 + blocks * 8 + 5 * 64);
  EXPECT_EQ(layout.chunks.back().begin + chunk_count(layout.segments[0], layout.chunks.back()), n);
}

TEST(SpanOf, FindsTheChunksPlacesInAWindowThatLiesElsewhere) {
  const StateLayout layout = state_layout(config_of(Optim::kAdamw8bit), kParams, 4096);
  UpdateSegment segment = layout.segments[5];
  std::vector<float> gradient(8), parameter(8);  // addresses only
  segment.gradient = gradient.data();
  segment.parameter = parameter.data();
  segment.parameter_is_bf16 = true;
  const UpdateChunk chunk{8192, 5};
  const int64_t offset = layout.groups[2].offset;
  auto* const window = reinterpret_cast<std::byte*>(uintptr_t{1} << 40);
  const UpdateSpan span = span_of(segment, chunk, window, offset);
  const auto place = [&](const void* p) { return static_cast<const std::byte*>(p) - window + offset; };
  EXPECT_EQ(place(span.master), segment.master + 8192 * 4);
  EXPECT_EQ(place(span.m), segment.m + 8192);
  EXPECT_EQ(place(span.v), segment.v + 8192);
  EXPECT_EQ(place(span.absmax_m), segment.absmax_m + 8192 / 256 * 4);
  EXPECT_EQ(place(span.absmax_v), segment.absmax_v + 8192 / 256 * 4);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(span.gradient), reinterpret_cast<uintptr_t>(gradient.data()) + 8192 * 4);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(span.parameter), reinterpret_cast<uintptr_t>(parameter.data()) + 8192 * 2);
  EXPECT_EQ(span.n, kChunkElements);

  const UpdateSpan small = span_of(layout.segments[0], {0, 0}, window, 0);
  EXPECT_EQ(small.absmax_m, nullptr);
  EXPECT_EQ(small.n, 16);
}

}  // namespace
}  // namespace nibble::optim
