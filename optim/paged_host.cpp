// Paged state that needs no paging: ordinary memory on a CPU whose budget holds everything.
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "optim/paged_backend.h"
#include "optim/paged_mapping.h"

namespace nibble::optim {
namespace {

class HostBackend final : public PageBackend {
 public:
  explicit HostBackend(int64_t arena_bytes) : memory_(arena_bytes, -1) {
    if (!memory_.valid()) {
      throw OutOfMemoryError(fmt::format("{} MiB for the optimizer state: {}; lower lora_r, or use an 8-bit optimizer",
                                         arena_bytes >> 20, std::strerror(errno)));
    }
  }

  Residency residency() const override { return Residency::kSame; }
  void bring(std::span<const PageMove>) override {}
  void evict(std::span<const PageMove>) override {}
  void write_back(std::span<const PageMove>) override {}
  void finish() override {}
  void before_use(size_t) override {}
  void after_use(size_t) override {}
  std::byte* address(int64_t offset, int64_t, int64_t) const override { return memory_.at(offset); }
  void read(int64_t offset, int64_t bytes, void* to) override { std::memcpy(to, memory_.at(offset), static_cast<size_t>(bytes)); }
  void write(int64_t offset, int64_t bytes, const void* from) override {
    std::memcpy(memory_.at(offset), from, static_cast<size_t>(bytes));
  }

 private:
  Mapping memory_;
};

}  // namespace

std::unique_ptr<PageBackend> make_host_backend(int64_t arena_bytes) { return std::make_unique<HostBackend>(arena_bytes); }

}  // namespace nibble::optim
