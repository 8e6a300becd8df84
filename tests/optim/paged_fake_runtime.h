// A CUDA runtime for tests of what is queued on streams. Nothing runs when it is queued: it runs later, in an order drawn at
// random from those that streams and events allow, so that work which should have waited for other work, and did not, is
// seen. Managed memory knows where each of its blocks is; device memory has a limit. What a real device would not forgive
// is in violations(). (tests/emulator runs kernels; here a kernel is a lambda, and the order of work is the point.)
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "gpu/module.h"
#include "gpu/runtime_table.h"

namespace nibble::test {

struct FakeDevice {
  bool managed = true;            // concurrentManagedAccess
  int64_t free_bytes = 1 << 30;   // as the device reports it
  int64_t limit_bytes = 1 << 30;  // of device memory and managed blocks on the device together
  uint64_t seed = 1;              // of the order in which queued work runs
};

struct FakePrefetch {
  const std::byte* begin;
  int64_t bytes;
  int location;
  void* stream;
};

// One at a time: the table's functions find it through a static pointer.
class FakeRuntime {
 public:
  static constexpr int64_t kBlock = 4096;

  explicit FakeRuntime(const FakeDevice& device) : device_(device), random_(device.seed) {
    current() = this;
    module_.version = gpu::kModuleVersion;
    module_.runtime = &table();
  }
  FakeRuntime(const FakeRuntime&) = delete;
  ~FakeRuntime() { current() = nullptr; }

  gpu::Queue queue() const { return {&module_, nullptr}; }  // computes on the default stream

  // Queues a kernel on the compute stream. It works on memory that must be on the device by then.
  void launch(std::byte* address, int64_t bytes, std::function<void()> kernel) {
    queue_on(nullptr, [this, address, bytes, kernel = std::move(kernel)] {
      check_on_device(address, bytes);
      kernel();
    });
  }

  void fail_call(int64_t nth) { fail_in_ = nth; }  // 1: the next; 0: none
  size_t live() const { return memory_.size() + streams_.size() + events_.size(); }
  int64_t synchronizations() const { return synchronizations_; }
  int64_t most_device_bytes() const { return most_device_bytes_; }
  int64_t copied_bytes() const { return copied_bytes_; }
  const std::vector<FakePrefetch>& prefetches() const { return prefetches_; }
  const std::vector<const char*>& violations() const { return violations_; }
  void forget_log() { prefetches_.clear(); copied_bytes_ = 0; synchronizations_ = 0; }

 private:
  struct Event {
    int64_t recorded = 0, done = 0;
  };
  struct Work {
    std::function<void()> run;
    Event* awaited = nullptr;  // set: a wait for its `version`
    int64_t version = 0;
  };
  struct Memory {
    std::byte* data = nullptr;
    int64_t bytes = 0;
    bool on_device = false, managed = false;
    std::vector<char> blocks_on_device;  // managed
  };

  static FakeRuntime*& current() {
    static FakeRuntime* runtime = nullptr;
    return runtime;
  }

  // Every call: fails if told to, and lets some of the queued work run meanwhile.
  static FakeRuntime& called(const char* statement) {
    FakeRuntime& self = *current();
    if (self.fail_in_ > 0 && --self.fail_in_ == 0) throw CudaError(std::string(statement) + " failed: injected");
    for (auto n = self.random_() % 4; n > 0; --n) self.run_one();
    return self;
  }

  std::deque<Work>& stream(void* s) { return s == nullptr ? compute_ : *streams_.at(s); }
  void queue_on(void* s, std::function<void()> run) { stream(s).push_back({std::move(run)}); }

  bool run_one() {
    std::vector<std::deque<Work>*> ready;
    const auto look = [&](std::deque<Work>& s) {
      if (!s.empty() && (s.front().awaited == nullptr || s.front().awaited->done >= s.front().version)) ready.push_back(&s);
    };
    look(compute_);
    for (auto& [handle, s] : streams_) look(*s);
    if (ready.empty()) return false;
    std::deque<Work>& s = *ready[random_() % ready.size()];
    const Work work = std::move(s.front());
    s.pop_front();
    if (work.run) work.run();
    return true;
  }

  void drain(void* s) {
    while (!stream(s).empty()) {
      if (!run_one()) {
        violations_.push_back("streams wait for each other for ever");
        return;
      }
    }
  }

  Memory* memory_with(const std::byte* p) {
    for (auto& [data, memory] : memory_) {
      if (p >= data && p < data + memory.bytes) return &memory;
    }
    return nullptr;
  }

  void charge(int64_t bytes) {
    device_bytes_ += bytes;
    most_device_bytes_ = std::max(most_device_bytes_, device_bytes_);
    if (device_bytes_ > device_.limit_bytes) violations_.push_back("more on the device than its limit");
  }

  void check_on_device(const std::byte* p, int64_t bytes) {
    const Memory* memory = memory_with(p);
    if (memory == nullptr || p + bytes > memory->data + memory->bytes) {
      violations_.push_back("a kernel works beyond what was allocated");
    } else if (memory->managed) {
      for (int64_t b = (p - memory->data) / kBlock; b * kBlock < p - memory->data + bytes; ++b) {
        if (!memory->blocks_on_device[static_cast<size_t>(b)]) {
          violations_.push_back("a kernel works on a page that is not on the device");
          return;
        }
      }
    } else if (!memory->on_device) {
      violations_.push_back("a kernel works on host memory");
    }
  }

  void move_blocks(const std::byte* p, int64_t bytes, bool to_device) {
    Memory* memory = memory_with(p);
    if (memory == nullptr || !memory->managed) {
      violations_.push_back("a prefetch of what is not managed memory");
      return;
    }
    for (int64_t b = (p - memory->data) / kBlock; b * kBlock < p - memory->data + bytes; ++b) {
      char& there = memory->blocks_on_device[static_cast<size_t>(b)];
      if (there != static_cast<char>(to_device)) charge(to_device ? kBlock : -kBlock);
      there = static_cast<char>(to_device);
    }
  }

  void* allocate(int64_t bytes, bool on_device, bool managed) {
    // Not on a page's border, so that who needs one has to see to it.
    auto* data = static_cast<std::byte*>(std::aligned_alloc(kBlock, static_cast<size_t>((bytes / kBlock + 2) * kBlock)));
    std::memset(data, 0xA5, static_cast<size_t>(bytes));
    memory_[data] = {data, bytes, on_device, managed, std::vector<char>(static_cast<size_t>(bytes / kBlock + 2), 0)};
    if (on_device) charge(bytes);
    return data;
  }

  void release(void* p) {
    if (p == nullptr) return;
    const auto found = memory_.find(static_cast<std::byte*>(p));
    if (found == memory_.end()) {
      violations_.push_back("released twice");
      return;
    }
    if (!compute_.empty() || std::any_of(streams_.begin(), streams_.end(), [](const auto& s) { return !s.second->empty(); })) {
      violations_.push_back("memory is released while work is queued");
    }
    if (found->second.on_device) charge(-found->second.bytes);
    std::free(found->second.data);
    memory_.erase(found);
  }

  static const gpu::RuntimeTable& table();

  FakeDevice device_;
  std::mt19937_64 random_;
  gpu::ModuleTable module_{};
  std::map<std::byte*, Memory> memory_;
  std::map<void*, std::unique_ptr<std::deque<Work>>> streams_;
  std::map<void*, std::unique_ptr<Event>> events_;
  std::deque<Work> compute_;
  int64_t fail_in_ = 0, synchronizations_ = 0, copied_bytes_ = 0, device_bytes_ = 0, most_device_bytes_ = 0;
  std::vector<FakePrefetch> prefetches_;
  std::vector<const char*> violations_;
};

inline const gpu::RuntimeTable& FakeRuntime::table() {
  static const gpu::RuntimeTable kTable = [] {
    gpu::RuntimeTable t{};
    t.device_info = [](int) {
      const FakeRuntime& self = called("cudaMemGetInfo(&free_bytes, &total_bytes)");
      gpu::DeviceInfo info{};
      std::strcpy(info.name, "Fake Card");
      info.total_bytes = 2 * self.device_.free_bytes;
      info.free_bytes = self.device_.free_bytes;
      info.has_managed_memory = self.device_.managed;
      return info;
    };
    t.allocate = [](int64_t bytes) { return called("cudaMalloc(&p, bytes)").allocate(bytes, true, false); };
    t.allocate_managed = [](int64_t bytes) { return called("cudaMallocManaged(&p, bytes)").allocate(bytes, false, true); };
    t.allocate_pinned = [](int64_t bytes) { return called("cudaMallocHost(&p, bytes)").allocate(bytes, false, false); };
    t.release = [](void* p) { current()->release(p); };
    t.release_pinned = t.release;
    t.copy = [](void* to, const void* from, int64_t bytes, void* stream) {
      FakeRuntime& self = called("cudaMemcpyAsync(to, from, bytes)");
      self.copied_bytes_ += bytes;
      self.queue_on(stream, [=] { std::memcpy(to, from, static_cast<size_t>(bytes)); });
    };
    t.prefetch = [](const void* p, int64_t bytes, int location, void* stream) {
      FakeRuntime& self = called("cudaMemPrefetchAsync(p, bytes, location)");
      const auto* begin = static_cast<const std::byte*>(p);
      self.prefetches_.push_back({begin, bytes, location, stream});
      self.queue_on(stream, [&self, begin, bytes, location] { self.move_blocks(begin, bytes, location != gpu::kHost); });
    };
    t.prefer = [](const void*, int64_t, int) { called("cudaMemAdvise(p, bytes, location)"); };
    t.create_stream = []() -> void* {
      FakeRuntime& self = called("cudaStreamCreateWithFlags(&stream)");
      auto stream = std::make_unique<std::deque<Work>>();
      void* handle = stream.get();
      self.streams_[handle] = std::move(stream);
      return handle;
    };
    t.destroy_stream = [](void* stream) { current()->streams_.erase(stream); };
    t.synchronize = [](void* stream) {
      FakeRuntime& self = called("cudaStreamSynchronize(stream)");
      ++self.synchronizations_;
      self.drain(stream);
    };
    t.create_event = []() -> void* {
      FakeRuntime& self = called("cudaEventCreateWithFlags(&event)");
      auto event = std::make_unique<Event>();
      void* handle = event.get();
      self.events_[handle] = std::move(event);
      return handle;
    };
    t.destroy_event = [](void* event) { current()->events_.erase(event); };
    t.record = [](void* event, void* stream) {
      FakeRuntime& self = called("cudaEventRecord(event, stream)");
      Event* e = self.events_.at(event).get();
      const int64_t version = ++e->recorded;
      self.queue_on(stream, [e, version] { e->done = version; });
    };
    t.wait = [](void* stream, void* event) {
      FakeRuntime& self = called("cudaStreamWaitEvent(stream, event)");
      Event* e = self.events_.at(event).get();
      self.stream(stream).push_back({nullptr, e, e->recorded});
    };
    return t;
  }();
  return kTable;
}

}  // namespace nibble::test
