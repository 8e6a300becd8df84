// Names of kernels, for messages and the log: kernels are local symbols, which the dynamic linker does not know.
#pragma once

#include <cstddef>
#include <string>

namespace nibble::emulator {

// "dequantize_kernel<true, float>" for the address of a kernel, from the symbol table of the library that holds it.
std::string kernel_name(const void* kernel);

// The shared memory of all kernels in the library that holds this one: its thread-local storage, which is nothing else,
// since nibble's .cu files have no thread_local of their own and nothing else in the library may have one.
struct SharedMemory {
  std::byte* begin = nullptr;
  size_t bytes = 0;
};
SharedMemory shared_memory(const void* kernel);

}  // namespace nibble::emulator
