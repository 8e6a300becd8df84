#include "tensor/torch_memory.h"

#include <gtest/gtest.h>

#include <array>

namespace nibble::tensor {
namespace {

constexpr MemorySide kHost = MemorySide::kHost;

TEST(TorchMemory, CountsTensorsOfTheStageThatMadeThem) {
  MemoryAccount account;
  TorchMemory torch_memory(account);
  Tensor base, temporary;
  {
    const MemoryStage stage(&account, "loading", MemoryPart::kBase);
    base = at::zeros({1000}, at::kFloat);
    EXPECT_EQ(account.in_use(MemoryPart::kBase, kHost), 4000);
    const Tensor view = base.narrow(0, 10, 5);
    EXPECT_EQ(account.total(kHost), 4000);  // a view is no memory of its own
  }
  temporary = at::empty({50}, at::kByte);
  EXPECT_EQ(account.in_use(MemoryPart::kWorkspace, kHost), 50);
  base = Tensor();
  EXPECT_EQ(account.in_use(MemoryPart::kBase, kHost), 0);
  EXPECT_EQ(account.peak(MemoryPart::kBase, kHost), 4000);
  EXPECT_EQ(account.total(kHost), 50);
}

TEST(TorchMemory, MovesATensorToItsPart) {
  MemoryAccount account;
  TorchMemory torch_memory(account);
  Tensor head = at::empty({16, 4}, at::kFloat);
  torch_memory.assign(head.narrow(0, 0, 2), MemoryPart::kHead);  // by any view of it
  EXPECT_EQ(account.in_use(MemoryPart::kHead, kHost), 256);
  EXPECT_EQ(account.in_use(MemoryPart::kWorkspace, kHost), 0);
  head.reset();
  EXPECT_EQ(account.total(kHost), 0);
  torch_memory.assign(Tensor(), MemoryPart::kHead);
  std::array<float, 4> mine{};
  torch_memory.assign(at::from_blob(mine.data(), {4}), MemoryPart::kHead);  // not LibTorch's memory
  EXPECT_EQ(account.total(kHost), 0);
}

TEST(TorchMemory, ServesOneRunAfterAnother) {
  Tensor outlives;
  MemoryAccount first, second;
  {
    TorchMemory torch_memory(first);
    outlives = at::empty({100}, at::kByte);
  }
  TorchMemory torch_memory(second);
  const Tensor mine = at::empty({7}, at::kByte);
  outlives.reset();
  EXPECT_EQ(first.total(kHost), 100);  // nobody was there to see it go
  EXPECT_EQ(second.total(kHost), 7);
}

}  // namespace
}  // namespace nibble::tensor
