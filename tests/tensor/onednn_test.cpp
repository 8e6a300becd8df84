#include "tensor/onednn.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "core/amx.h"
#include "tensor/torch.h"

namespace nibble::tensor {
namespace {

// Of this very program, which links nibble_tensor and called nothing.
TEST(OneDnn, IsConfiguredBeforeMain) {
  for (const char* name : {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"}) {
    ASSERT_NE(std::getenv(name), nullptr) << name;
    EXPECT_GE(std::stoi(std::getenv(name)), 32) << name;
  }
  if (amx_claim().instructions && !amx_claim().palettes) {
    EXPECT_STREQ(std::getenv("ONEDNN_MAX_CPU_ISA"), kOneDnnWithoutAmx);
  }
}

TEST(OneDnn, LeavesWhatTheUserSet) {
  ::setenv("LRU_CACHE_CAPACITY", "5", /*overwrite=*/1);
  configure_onednn();
  EXPECT_STREQ(std::getenv("LRU_CACHE_CAPACITY"), "5");
}

// Dies of SIGILL where a CPU announces tiles without palettes and nobody tells oneDNN.
TEST(OneDnn, MultipliesInBf16OnThisMachine) {
  const at::Tensor a = at::ones({512, 576}, at::kBFloat16), b = at::full({576, 576}, 0.5, at::kBFloat16);
  EXPECT_TRUE(a.mm(b).eq(288.0).all().item<bool>());
}

}  // namespace
}  // namespace nibble::tensor
