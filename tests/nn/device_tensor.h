// Tensors in a device's memory for parity tests of kernels, strides and the elements between the rows included.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>

#include "gpu/runtime_table.h"
#include "nn/cuda_table.h"
#include "tensor/torch.h"
#include "tests/emulator/emulator.h"

namespace nibble::test {

inline const nn::CudaTable& nn_kernels() { return *emulated_module()->nn; }

// A copy on the host with the same strides in a storage of its own, what lies between the rows included.
inline Tensor clone_storage(const Tensor& t) {
  const auto elements = static_cast<int64_t>(t.storage().nbytes() / t.element_size());
  return at::as_strided(at::as_strided(t, {elements}, {1}, 0).clone(), t.sizes(), t.strides(), t.storage_offset());
}

// A copy of a host tensor's whole storage on the device.
class DeviceTensor {
 public:
  explicit DeviceTensor(const Tensor& host)
      : host_(host), bytes_(static_cast<int64_t>(host.storage().nbytes())), storage_(runtime().allocate(bytes_)) {
    runtime().copy(storage_, host.storage().data(), bytes_, nullptr);
    runtime().synchronize(nullptr);
  }
  ~DeviceTensor() { runtime().release(storage_); }
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  void* data() const { return static_cast<std::byte*>(storage_) + host_.storage_offset() * host_.element_size(); }
  template <class T>
  T* as() const { return static_cast<T*>(data()); }

  // What the device holds now, with the strides of the original.
  Tensor read() const {
    const Tensor copy = clone_storage(host_);
    runtime().copy(const_cast<void*>(copy.storage().data()), storage_, bytes_, nullptr);
    runtime().synchronize(nullptr);
    return copy;
  }

 private:
  static const gpu::RuntimeTable& runtime() { return *emulated_module()->runtime; }

  Tensor host_;
  int64_t bytes_;
  void* storage_;
};

// Kernels run with the emulator's checks: out of bounds, uninitialized shared memory, results that depend on the order of
// threads. Nothing may be left allocated.
class DeviceTest : public testing::Test {
 protected:
  void SetUp() override { emulator::reset(); }
  void TearDown() override { EXPECT_EQ(emulator::leaks(), ""); }

 private:
  emulator::CheckedLaunches checked_;
};

// Bit for bit the same storage: the elements, and what lies between the rows.
inline bool same_storage(const Tensor& a, const Tensor& b) {
  const auto bytes = [](const Tensor& t) {
    return at::from_blob(const_cast<void*>(t.storage().data()), {static_cast<int64_t>(t.storage().nbytes())}, at::kByte);
  };
  return at::equal(bytes(a), bytes(b));
}

// Rows of `width` elements with gaps between them, `offset` elements into their storage: aligned to 16 bytes where offset
// and gap are multiples of eight.
inline Tensor strided_rows(const Tensor& dense, int64_t gap, int64_t offset) {
  const int64_t rows = dense.size(0), width = dense.size(1);
  const Tensor storage = at::full({offset + rows * (width + gap)}, 7.0, dense.options());
  const Tensor view = at::as_strided(storage, {rows, width}, {width + gap, 1}, offset);
  view.copy_(dense);
  return view;
}

}  // namespace nibble::test
