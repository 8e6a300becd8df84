// Weights that are made by all threads, each a weight of its own, and taken in order.
//
// Sharing out every weight among the threads would have them wait for each other several times a weight: loading and merging
// take milliseconds for one. LibTorch's own loops run on one thread inside.
#pragma once

#include <cstdint>
#include <functional>

namespace nibble::io {

// Calls make(i) for every i of [0, count), several at a time, in order of their beginning; and what each returns, one at a time,
// in order of i. At most `threads` threads take part, and at most `ahead` results wait for their turn: each holds memory. One
// thread: LibTorch's own loops may use all. An exception ends all of it: what has not begun never will, and the first comes back.
void make_concurrently(int64_t count, int64_t threads, int64_t ahead, const std::function<std::function<void()>(int64_t)>& make);

}  // namespace nibble::io
