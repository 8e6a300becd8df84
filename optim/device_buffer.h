// A piece of device memory that is given back at the end.
#pragma once

#include <cstdint>
#include <utility>

#include "gpu/module.h"
#include "gpu/runtime_table.h"

namespace nibble::optim {

class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // Contents are undefined. bytes = 0: nothing is allocated. THROWS CudaError
  DeviceBuffer(const gpu::Queue& queue, int64_t bytes) : queue_(queue) {
    if (bytes > 0) data_ = queue.module->runtime->allocate(bytes);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept : queue_(other.queue_), data_(std::exchange(other.data_, nullptr)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(queue_, other.queue_);
    std::swap(data_, other.data_);
    return *this;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() {
    if (data_ != nullptr) queue_.module->runtime->release(data_);
  }

  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  gpu::Queue queue_;
  void* data_ = nullptr;
};

}  // namespace nibble::optim
