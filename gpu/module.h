// The run-time CUDA module: libnibble_cuda.so holds all CUDA code and is opened when the machine has a driver. The main
// binary never links CUDA: it starts faster, and one build runs on machines with and without a GPU.
//
// The module exports one C function, which hands back one struct of function pointers with a version. Both sides include
// this header; a module of another build is refused by its version instead of being called wrongly.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace nibble::quant {
struct CudaTable;  // quant/cuda_table.h
}
namespace nibble::optim {
struct CudaTable;  // optim/cuda_table.h
}
namespace nibble::nn {
struct CudaTable;  // nn/cuda_table.h
}

namespace nibble::gpu {

inline constexpr uint32_t kModuleVersion = 5;  // goes up with every change of a table or of a launch struct
inline constexpr const char* kModuleFile = "libnibble_cuda.so";
inline constexpr const char* kModuleSymbol = "nibble_cuda_module";

struct RuntimeTable;  // gpu/runtime_table.h

// One table a layer, so that a layer's launch lines are named in that layer only.
struct ModuleTable {
  uint32_t version;  // first, always
  const RuntimeTable* runtime;
  const quant::CudaTable* quant;
  const optim::CudaTable* optim;
  const nn::CudaTable* nn;
};

// Where work is queued: a module and one of its streams. Empty: the work is done on the CPU, at once.
struct Queue {
  const ModuleTable* module = nullptr;
  void* stream = nullptr;  // a cudaStream_t; null: the default stream
  explicit operator bool() const { return module != nullptr; }
};

// Which module was chosen, or why none was.
struct ModuleStatus {
  const ModuleTable* table = nullptr;  // null: the CPU is used. The module stays open until the process ends
  int devices = 0;
  std::string text;                    // one line for people, with what to do: "no NVIDIA driver (...)"
  bool usable() const { return table != nullptr; }
};

// Where the module is looked for: beside the running binary, and in ../lib of it.
std::filesystem::path default_module_path();

// Opens driver and module and counts the devices. Never throws and never fails for want of a GPU: the text says why.
ModuleStatus module_status(const std::filesystem::path& module_path = default_module_path(),
                           const std::string& driver = "libcuda.so.1");

// "" if this side can call the table, else why not.
std::string table_mismatch(const ModuleTable* table);

}  // namespace nibble::gpu
