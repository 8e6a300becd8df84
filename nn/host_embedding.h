// Look-up in an embedding that stays in host memory: its rows are gathered there and uploaded with the batch. A vocabulary of
// 128,256 at a width of 4,096 is 1 GiB of a device's memory for 16 MiB of rows that a pass of 2,048 tokens reads.
#pragma once

#include <span>

#include "nn/place.h"

namespace nibble::nn {

class HostEmbedding {
 public:
  explicit HostEmbedding(const Place& place) : place_(place) {}
  ~HostEmbedding();
  HostEmbedding(const HostEmbedding&) = delete;
  HostEmbedding& operator=(const HostEmbedding&) = delete;

  // rows[i] = table[ids[i]], asynchronously on the place's queue. SHAPES table [V, C] in host memory; rows [T, C] on the
  // device, of the same dtype. REQUIRES ids inside the table. Waits only where an upload two calls ago is still on its way.
  // THROWS CudaError
  void gather(const Tensor& table, std::span<const int32_t> ids, const Tensor& rows);

 private:
  // A pinned buffer, free again when its event has passed.
  struct Staging {
    void* data = nullptr;
    int64_t bytes = 0;
    void* copied = nullptr;  // event
    bool used = false;
  };
  void grow(Staging& staging, int64_t bytes);

  Place place_;
  Staging staging_[2];
  int next_ = 0;
};

}  // namespace nibble::nn
