// Where a run's model and optimizer state live, as the configuration asks and the machine allows.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "nn/place.h"
#include "optim/paged_arena.h"
#include "schema/run_config.h"

namespace nibble::trainer {

// Makes one of LibTorch's pooled streams of `device` the one that this thread's operators are queued on, and returns it as the
// device's own handle (a cudaStream_t), for our kernels. Work can be recorded on it as a graph, which the default stream, where
// LibTorch starts, does not allow. REQUIRES LibTorch's library for the device to be loaded.
void* adopt_torch_stream(at::Device device);

// device: cuda opens the CUDA module and LibTorch's CUDA library; from then on LibTorch's work in
// this thread and ours share one stream. THROWS ConfigError saying why there is no GPU to use.
nn::Place choose_place(const schema::RunConfig& config, const std::function<void(const std::string&)>& say);

// Memory for a paged optimizer's state, its file, if it needs one, in `folder`; null for the others.
std::unique_ptr<optim::PagedArena> paged_memory(const schema::RunConfig& config, const nn::Place& place,
                                                const std::filesystem::path& folder);

}  // namespace nibble::trainer
