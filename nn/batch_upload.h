// A micro-batch's integers on their way to the device: one copy from pinned memory for all of them, which overlaps with the
// work that is still queued. On the CPU they stay where they are.
#pragma once

#include <vector>

#include "nn/attention_gpu.h"
#include "nn/loss.h"
#include "nn/place.h"

namespace nibble::nn {

struct DeviceBatch {
  Tensor ids;               // [T] int32
  std::span<const int32_t> host_ids;  // [T] the caller's own
  Tensor positions;         // [T] int32
  DeviceDocuments documents;
  Tensor rows, targets;     // [N] int32: LabelledRows
  const uint64_t* micro_step = nullptr;  // on the device; null on the CPU
};

class BatchUpload {
 public:
  // THROWS CudaError
  explicit BatchUpload(const Place& place);
  ~BatchUpload();
  BatchUpload(const BatchUpload&) = delete;
  BatchUpload& operator=(const BatchUpload&) = delete;

  // Views of the batch on the CPU; of memory of the upload's on a device, valid until the next call. There, what has a size that
  // depends on the number of tokens alone is at the same address for the same number of tokens, and so is the step.
  DeviceBatch upload(const TokenBatch& batch, const LabelledRows& labelled, uint64_t micro_step = 0);

 private:
  // A pinned buffer, free again when its event has passed.
  struct Staging {
    int32_t* data = nullptr;
    int64_t capacity = 0;
    void* copied = nullptr;  // event
    bool used = false;
  };
  void grow(Staging& staging, int64_t elements);

  Place place_;
  Staging staging_[2];
  int next_ = 0;
  int32_t* device_ = nullptr;
  int64_t device_capacity_ = 0;
  bool flash_ = true;
};

}  // namespace nibble::nn
