// Units: optim/state_memory, optim/plain_memory, optim/optimizer. Where the state lies changes no number.
#include "optim/plain_memory.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/optim/optim_problem.h"
#include "tests/optim/window_memory.h"

namespace nibble::optim {
namespace {

using test::config_of;
using test::Problem;
using test::same_bits;
using test::state_of;
using test::WindowMemory;

TEST(PlainMemory, IsZeroAlignedAndOneWindow) {
  const auto memory = plain_memory();
  memory->reserve({{0, 100}, {128, 64}, {192, 1000}});
  const StateWindow all = memory->before_update(0);
  EXPECT_EQ(all.groups, 3u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(all.address) % 64, 0u);
  for (int i = 0; i < 1192; ++i) EXPECT_EQ(all.address[i], std::byte{0});
  memory->after_update(0, 3);
  const StateWindow last = memory->before_update(2);
  EXPECT_EQ(last.groups, 1u);
  EXPECT_EQ(last.address, all.address + 192);
  memory->after_update(2, 1);
}

// Large enough for several threads, in memory that was used before.
TEST(PlainMemory, IsZeroWhereOthersWrote) {
  constexpr int64_t kBytes = (int64_t{9} << 20) + 3;
  for (int round = 0; round < 4; ++round) {
    const auto memory = plain_memory();
    memory->reserve({{0, kBytes}});
    std::byte* data = memory->before_update(0).address;
    ASSERT_EQ(std::count(data, data + kBytes, std::byte{0}), kBytes) << round;
    std::fill(data, data + kBytes, std::byte{0xFF});
  }
}

TEST(PlainMemory, ReadsWhatWasWritten) {
  const auto memory = plain_memory();
  memory->reserve({{0, 128}, {128, 64}});
  const std::vector<uint8_t> written{1, 2, 3, 4, 5};
  memory->write(126, 5, written.data());  // across groups
  std::vector<uint8_t> read(7);
  memory->read(125, 7, read.data());
  EXPECT_EQ(read, (std::vector<uint8_t>{0, 1, 2, 3, 4, 5, 0}));
}

TEST(PlainMemory, HoldsNothingWhereThereIsNothing) {
  const auto memory = plain_memory();
  memory->reserve({});
  EXPECT_NO_THROW(memory->read(0, 0, nullptr));
}

TEST(StateMemory, WindowsGiveTheNumbersOfPlainMemory) {
  for (const Optim optim : {Optim::kAdamwTorch, Optim::kPagedAdamw8bit, Optim::kPagedLion8bit}) {
    Problem plain(at::kBFloat16);
    Optimizer expected(config_of(optim), plain.params);
    plain.train(expected, 0, 4);
    for (const size_t at_once : {1u, 2u, 3u}) {
      Problem paged(at::kBFloat16);
      auto memory = std::make_unique<WindowMemory>(at_once);
      const WindowMemory& seen = *memory;
      Optimizer optimizer(config_of(optim), paged.params, std::move(memory));
      paged.train(optimizer, 0, 4);
      EXPECT_EQ(seen.windows, 4 * static_cast<int64_t>((4 + at_once - 1) / at_once));  // four layers, four steps
      const auto actual = state_of(optimizer);
      for (const auto& [name, tensor] : state_of(expected)) EXPECT_TRUE(same_bits(tensor, actual.at(name))) << name;
      for (size_t i = 0; i < plain.params.size(); ++i) {
        EXPECT_TRUE(same_bits(plain.params[i].param, paged.params[i].param));
      }
    }
  }
}

}  // namespace
}  // namespace nibble::optim
