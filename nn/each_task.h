// Tasks of unequal length on all threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "tensor/torch.h"

namespace nibble::nn {

// Calls work(task, worker) for every task; threads take the next one as they finish: halves of equal work are not done in equal time
// where a machine's CPUs have other things to do. worker < at::get_num_threads(). Inside another parallel region the caller does all.
template <class Work>
void each_task(int64_t tasks, const Work& work) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), tasks), 1, [&](int64_t begin, int64_t) {
    for (int64_t task = next++; task < tasks; task = next++) work(task, begin);
  });
}

}  // namespace nibble::nn
