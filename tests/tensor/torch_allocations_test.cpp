#include "tensor/torch_allocations.h"

#include <gtest/gtest.h>

#include "tensor/torch_memory.h"

namespace nibble::tensor {
namespace {

TEST(TorchAllocations, CountsWhatIsAllocatedWhileItLives) {
  const Tensor before = at::ones({8});
  const TorchAllocations here(at::kCPU), elsewhere(at::kCUDA);
  EXPECT_EQ(here.count(), 0);
  Tensor view = before.narrow(0, 2, 3).t();
  at::add_out(view, view, view);  // into what is there
  EXPECT_EQ(here.count(), 0);
  for (int i = 1; i <= 3; ++i) {
    const Tensor made = at::empty({100});  // given back at once, and counted all the same
    EXPECT_EQ(here.count(), i);
  }
  EXPECT_EQ(elsewhere.count(), 0);
}

TEST(TorchAllocations, KeepsNothingFromTheAccountAroundIt) {
  MemoryAccount account;
  TorchMemory torch_memory(account);
  Tensor within;
  {
    const TorchAllocations counted(at::kCPU);
    within = at::empty({25}, at::kFloat);
    EXPECT_EQ(account.total(MemorySide::kHost), 100);
    EXPECT_EQ(counted.count(), 1);
  }
  within.reset();
  EXPECT_EQ(account.total(MemorySide::kHost), 0);
}

}  // namespace
}  // namespace nibble::tensor
