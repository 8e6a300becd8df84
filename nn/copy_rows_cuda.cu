// Rows from here to there on CUDA, by lists of row numbers: 16 bytes a thread, or 2 where something is not aligned.
#include "gpu/launch.cuh"
#include "nn/copy_rows_launch.h"
#include "nn/rows_launch.h"

namespace nibble::nn {
namespace {

template <bool kVector>
struct Piece {
  using Type = uint4;
};
template <>
struct Piece<false> {
  using Type = uint16_t;
};

template <bool kVector>
__global__ void __launch_bounds__(kRowThreads) copy_rows_kernel(const CopyRowsLaunch launch, const RowTiles tiles) {
  using Unit = typename Piece<kVector>::Type;
  const RowUnit at = row_unit(tiles, blockIdx.x, static_cast<int>(threadIdx.x));
  if (!at.exists) return;
  const int64_t from = launch.in_rows == nullptr ? at.row : launch.in_rows[at.row];
  const int64_t to = launch.out_rows == nullptr ? at.row : launch.out_rows[at.row];
  if (to < 0) return;
  Unit value{};
  if (from >= 0) {
    value = reinterpret_cast<const Unit*>(static_cast<const char*>(launch.in) + from * launch.in_stride_bytes)[at.unit];
  }
  reinterpret_cast<Unit*>(static_cast<char*>(launch.out) + to * launch.out_stride_bytes)[at.unit] = value;
}

}  // namespace

void copy_rows_cuda(const CopyRowsLaunch& launch, void* stream) {
  if (launch.count == 0) return;
  const uint64_t places = reinterpret_cast<uintptr_t>(launch.in) | reinterpret_cast<uintptr_t>(launch.out) |
                          static_cast<uint64_t>(launch.row_bytes) | static_cast<uint64_t>(launch.in_stride_bytes) |
                          static_cast<uint64_t>(launch.out_stride_bytes);
  expect_launch(launch.in != nullptr && launch.out != nullptr && launch.row_bytes >= 2 && places % 2 == 0, "copy_rows_cuda",
                "in, out, and rows of an even number of bytes");
  if (places % sizeof(uint4) == 0) {
    const RowTiles tiles = row_tiles(launch.count, launch.row_bytes / static_cast<int64_t>(sizeof(uint4)));
    gpu::launch(row_tiles_shape(tiles), stream, copy_rows_kernel<true>, launch, tiles);
  } else {
    const RowTiles tiles = row_tiles(launch.count, launch.row_bytes / static_cast<int64_t>(sizeof(uint16_t)));
    gpu::launch(row_tiles_shape(tiles), stream, copy_rows_kernel<false>, launch, tiles);
  }
}

}  // namespace nibble::nn
