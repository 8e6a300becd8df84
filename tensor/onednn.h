// What oneDNN, LibTorch's library for products on a CPU, is told before its first call: by environment variables, which is how
// it listens. Every program that links nibble_tensor tells it before main (CMakeLists.txt); what the user set stays.
#pragma once

namespace nibble::tensor {

// ONEDNN_MAX_CPU_ISA: without AMX, where the CPU announces tiles but lists no palette. oneDNN (3.10, as in LibTorch 2.11) then
// leaves the tiles unconfigured and its first bf16 product dies of SIGILL (oneDNN issue 5689).
// ONEDNN_PRIMITIVE_CACHE_CAPACITY, LRU_CACHE_CAPACITY: compiled products. About 1 MiB each, kept by oneDNN and by LibTorch once
// more, for each shape that was met: 1,024 of them, which rows of unequal length do reach. The shapes of a pass are 12, and
// every core may have a pass of its own length.
void configure_onednn();

}  // namespace nibble::tensor
