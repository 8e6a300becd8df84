#include "tensor/onednn.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include "core/amx.h"

namespace nibble::tensor {

void configure_onednn() {
  amx_bf16_usable();  // reads the user's limit, before it is ours
  const AmxClaim claim = amx_claim();
  const char* const limit = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (claim.instructions && !claim.palettes && (limit == nullptr || *limit == '\0')) {
    ::setenv("ONEDNN_MAX_CPU_ISA", kOneDnnWithoutAmx, /*overwrite=*/1);
  }
  const std::string shapes = std::to_string(std::max(32u, 12 * std::thread::hardware_concurrency()));
  for (const char* name : {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"}) ::setenv(name, shapes.c_str(), /*overwrite=*/0);
}

}  // namespace nibble::tensor

// The linker is told to look for this name, so that the unit is there.
extern "C" const bool nibble_onednn_is_configured;
extern "C" const bool nibble_onednn_is_configured = (nibble::tensor::configure_onednn(), true);
