#include "trainer/prompt_lookup.h"

#include <gtest/gtest.h>

namespace nibble::trainer {
namespace {

using Ids = std::vector<int32_t>;

TEST(PromptLookup, DraftsWhatFollowedTheTextsLastTokensBefore) {
  EXPECT_EQ(PromptLookup(Ids{5, 6, 7, 8, 9, 5, 6}, 7).draft(3), (Ids{7, 8, 9}));
  EXPECT_EQ(PromptLookup(Ids{5, 6, 7, 8, 9, 5, 6}, 2).draft(3), (Ids{7, 8}));
  EXPECT_EQ(PromptLookup(Ids{5, 6, 7, 8, 9, 5, 6}, 7).draft(0), Ids{});
  EXPECT_EQ(PromptLookup(Ids{5, 6, 7, 8, 9, 5, 6}, 0).draft(3), Ids{});
}

TEST(PromptLookup, PrefersTheLongestPlaceAndOfEqualOnesTheLast) {
  EXPECT_EQ(PromptLookup(Ids{1, 2, 3, 40, 2, 3, 50, 1, 2, 3}, 7).draft(1), Ids{40});
  EXPECT_EQ(PromptLookup(Ids{2, 3, 40, 2, 3, 50, 2, 3}, 7).draft(1), Ids{50});
}

TEST(PromptLookup, OneTokenInCommonIsNoPlace) {
  EXPECT_EQ(PromptLookup(Ids{1, 2, 3, 9, 2}, 7).draft(7), Ids{});
  EXPECT_EQ(PromptLookup(Ids{2}, 7).draft(7), Ids{});
  EXPECT_EQ(PromptLookup(Ids{}, 7).draft(7), Ids{});
}

TEST(PromptLookup, WhatRepeatsGoesOnRepeating) {
  EXPECT_EQ(PromptLookup(Ids{1, 2, 3, 1, 2, 3, 1, 2, 3}, 7).draft(5), (Ids{1, 2, 3, 1, 2}));
  EXPECT_EQ(PromptLookup(Ids{4, 4, 4}, 7).draft(4), (Ids{4, 4, 4, 4}));
}

TEST(PromptLookup, DraftsGrowAndShrinkWithWhatWasAccepted) {
  PromptLookup lookup(Ids{4, 4, 4}, 7);
  lookup.judge(7, 2);
  EXPECT_EQ(lookup.draft(7).size(), 3u);
  lookup.judge(3, 3);
  EXPECT_EQ(lookup.draft(7).size(), 6u);
  lookup.judge(6, 6);
  EXPECT_EQ(lookup.draft(7).size(), 7u);
  lookup.judge(2, 2);  // there was room for two only
  EXPECT_EQ(lookup.draft(7).size(), 7u);
}

TEST(PromptLookup, WrongDraftsAreFollowedByLongerAndLongerPauses) {
  PromptLookup lookup(Ids{4, 4, 4}, 7);
  int64_t expected = 0;
  for (int turn = 0; turn < 8; ++turn) {
    ASSERT_FALSE(lookup.draft(7).empty()) << turn;
    lookup.judge(2, 0);
    lookup.judge(0, 0);  // a token without a draft says nothing
    expected = std::min<int64_t>(2 * expected + 1, 32);
    for (int64_t i = 0; i < expected; ++i) EXPECT_TRUE(lookup.draft(7).empty()) << turn << " " << i;
  }
  ASSERT_FALSE(lookup.draft(7).empty());
  lookup.judge(2, 1);
  EXPECT_EQ(lookup.draft(7).size(), 2u);
  lookup.judge(2, 0);
  EXPECT_TRUE(lookup.draft(7).empty());
  EXPECT_FALSE(lookup.draft(7).empty());  // one good one, and the first pause is short again
}

}  // namespace
}  // namespace nibble::trainer
