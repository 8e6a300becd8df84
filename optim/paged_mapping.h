// A range of this process's address space, given back at the end.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace nibble::optim {

class Mapping {
 public:
  // As mmap(2): fd -1 maps fresh memory, zeros. bytes > 0. Check valid() and then errno.
  Mapping(int64_t bytes, int fd) : bytes_(static_cast<size_t>(bytes)) {
    const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    address_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, fd, 0);
  }
  Mapping(const Mapping&) = delete;
  ~Mapping() {
    if (valid()) munmap(address_, bytes_);
  }

  bool valid() const { return address_ != MAP_FAILED; }
  std::byte* at(int64_t offset) const { return static_cast<std::byte*>(address_) + offset; }

 private:
  size_t bytes_;
  void* address_;
};

}  // namespace nibble::optim
