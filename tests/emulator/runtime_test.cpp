// Units: gpu/runtime_table, gpu/runtime_cuda. The module's memory, copies, streams and events over the stand-in for the CUDA
// runtime; and the stand-in's own limits, failures and books.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "core/error.h"
#include "gpu/runtime_table.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/self_test_kernels.h"

namespace nibble::emulator {
namespace {

using gpu::kHost;
using testing::AllOf;
using testing::HasSubstr;

constexpr int kOutOfMemory = 2, kNoDevice = 100, kEccError = 214, kLaunchFailure = 719;  // cudaError_t
constexpr int64_t kMiB = 1 << 20;

const gpu::RuntimeTable& runtime() { return *test::emulated_module()->runtime; }

std::string cuda_error(const std::function<void()>& act) {
  try {
    act();
  } catch (const CudaError& error) {
    return error.what();
  }
  return "no error";
}

TEST(EmulatedModule, IsOneThatThisBinaryCanCall) {
  EXPECT_EQ(gpu::table_mismatch(test::emulated_module()), "");
  EXPECT_EQ(test::emulated_module(), test::emulated_module());
}

TEST(RuntimeTable, DescribesTheDevice) {
  reset({.memory_bytes = 6 * kMiB, .concurrent_managed_access = false});
  EXPECT_EQ(runtime().device_count(), 1);
  void* p = runtime().allocate(kMiB);
  const gpu::DeviceInfo info = runtime().device_info(0);
  EXPECT_STREQ(info.name, "emulated device");
  EXPECT_EQ(info.total_bytes, 6 * kMiB);
  EXPECT_EQ(info.free_bytes, 5 * kMiB);
  EXPECT_FALSE(info.has_managed_memory);
  runtime().release(p);
  reset({.count = 0});
  EXPECT_THAT(cuda_error([] { runtime().device_count(); }), HasSubstr("cudaGetDeviceCount(&count) failed: no CUDA-capable device"));
}

TEST(RuntimeTable, CopiesAndClears) {
  reset();
  void* device = runtime().allocate(16);
  const char text[16] = "fifteen letters";
  char back[16] = {};
  runtime().copy(device, text, 16, nullptr);
  runtime().fill_zero(static_cast<char*>(device) + 7, 9, nullptr);
  runtime().copy(back, device, 16, nullptr);
  EXPECT_STREQ(back, "fifteen");
  EXPECT_THAT(cuda_error([&] { runtime().fill_zero(static_cast<char*>(device) + 7, 10, nullptr); }), HasSubstr("invalid argument"));
  runtime().release(device);
  EXPECT_EQ(leaks(), "");
}

TEST(RuntimeTable, SaysWhichCallHadNoMemory) {
  reset({.memory_bytes = 4 * kMiB});
  void* p = runtime().allocate(3 * kMiB);
  EXPECT_THAT(cuda_error([] { runtime().allocate(2 * kMiB); }),
              AllOf(HasSubstr("cudaMalloc(&p, static_cast<size_t>(bytes)) failed: out of memory"), HasSubstr("cudaErrorMemoryAllocation"),
                    HasSubstr("runtime_cuda.cu:")));
  EXPECT_THAT(leaks(), HasSubstr("allocation 1 (3145728 bytes of device memory) was not freed"));
  runtime().release(p);
  runtime().release(nullptr);
  EXPECT_EQ(leaks(), "");
}

// One call of the table, and the runtime function within it that is made to fail.
struct Failing {
  const char* function;
  std::function<void(void* managed, void* stream, void* event)> call;
};

TEST(RuntimeTable, QuotesEveryCallThatFails) {
  const std::vector<Failing> cases = {
      {"cudaGetDeviceCount", [](void*, void*, void*) { runtime().device_count(); }},
      {"cudaGetDeviceProperties", [](void*, void*, void*) { runtime().device_info(0); }},
      {"cudaSetDevice", [](void*, void*, void*) { runtime().device_info(0); }},
      {"cudaMemGetInfo", [](void*, void*, void*) { runtime().device_info(0); }},
      {"cudaMalloc", [](void*, void*, void*) { runtime().allocate(8); }},
      {"cudaMallocManaged", [](void*, void*, void*) { runtime().allocate_managed(8); }},
      {"cudaMallocHost", [](void*, void*, void*) { runtime().allocate_pinned(8); }},
      {"cudaMemcpyAsync", [](void* m, void* s, void*) { runtime().copy(m, m, 8, s); }},
      {"cudaMemsetAsync", [](void* m, void* s, void*) { runtime().fill_zero(m, 8, s); }},
      {"cudaMemPrefetchAsync", [](void* m, void* s, void*) { runtime().prefetch(m, 8, 0, s); }},
      {"cudaMemAdvise", [](void* m, void*, void*) { runtime().prefer(m, 8, kHost); }},
      {"cudaStreamCreateWithFlags", [](void*, void*, void*) { runtime().create_stream(); }},
      {"cudaStreamSynchronize", [](void*, void* s, void*) { runtime().synchronize(s); }},
      {"cudaEventCreateWithFlags", [](void*, void*, void*) { runtime().create_event(); }},
      {"cudaEventRecord", [](void*, void* s, void* e) { runtime().record(e, s); }},
      {"cudaStreamWaitEvent", [](void*, void* s, void* e) { runtime().wait(s, e); }},
      {"cudaEventQuery", [](void*, void*, void* e) { runtime().done(e); }},
  };
  reset();
  void* managed = runtime().allocate_managed(4096);
  void* stream = runtime().create_stream();
  void* event = runtime().create_event();
  for (const Failing& failing : cases) {
    SCOPED_TRACE(failing.function);
    fail_call(failing.function, 1, kEccError);
    EXPECT_THAT(cuda_error([&] { failing.call(managed, stream, event); }), HasSubstr(std::string(failing.function) + "("));
  }
  runtime().destroy_event(event);
  runtime().destroy_stream(stream);
  runtime().release(managed);
  EXPECT_EQ(leaks(), "");
}

TEST(Launch, QuotesTheFailureAndWhereItWasLaunched) {
  reset();
  unsigned counter = 0;
  fail_call("cudaLaunchKernelEx", 2, kLaunchFailure);
  count_threads(&counter, 1, nullptr);
  EXPECT_THAT(cuda_error([&] { count_threads(&counter, 1, nullptr); }),
              AllOf(HasSubstr("cudaLaunchKernelEx("), HasSubstr("unspecified launch failure"), HasSubstr("self_test_kernels.cu:")));
  EXPECT_EQ(counter, 256u);
  EXPECT_EQ(calls("cudaLaunchKernelEx"), 2);
}

TEST(Launch, RefusesAGridThatCudaCannotLaunch) {
  reset();
  EXPECT_THAT(cuda_error([] { number_grid(nullptr, 1, 65536, nullptr); }), HasSubstr("invalid configuration argument"));
}

TEST(Failures, AreForTheNthCallOnly) {
  reset();
  fail_call("cudaMalloc", 2, kOutOfMemory);
  void* first = runtime().allocate(8);
  EXPECT_THROW(runtime().allocate(8), CudaError);
  void* third = runtime().allocate(8);
  EXPECT_EQ(calls("cudaMalloc"), 3);
  runtime().release(first);
  runtime().release(third);
  fail_call("cudaGetDeviceCount", 1, kNoDevice);
  EXPECT_THROW(runtime().device_count(), CudaError);
}

TEST(Managed, MovesByPrefetchAndIsCounted) {
  reset({.memory_bytes = kMiB});
  auto* p = static_cast<unsigned*>(runtime().allocate_managed(256 * 1024));
  p[0] = 1;
  runtime().prefetch(p, 128 * 1024, 0, nullptr);
  EXPECT_EQ(memory_use().managed_on_device_bytes, 128 * 1024);
  count_threads(p, 1, nullptr);
  EXPECT_EQ(memory_use().faults_by_kernels, 0);
  count_threads(p + 40 * 1024, 1, nullptr);  // byte 160 KiB: nothing brought it
  EXPECT_EQ(memory_use().faults_by_kernels, 1);
  EXPECT_EQ(memory_use().managed_on_device_bytes, 192 * 1024);
  EXPECT_EQ(p[0], 1u + 256);  // the host reads what is on the device
  EXPECT_EQ(memory_use().faults_by_host, 1);
  runtime().prefetch(p, 256 * 1024, kHost, nullptr);
  EXPECT_EQ(memory_use().managed_on_device_bytes, 0);
  EXPECT_EQ(memory_use().peak_on_device_bytes, 192 * 1024);
  runtime().release(p);
}

TEST(Managed, MakesRoomByEvictingWhatCameFirst) {
  reset({.memory_bytes = 256 * 1024});
  auto* p = static_cast<char*>(runtime().allocate_managed(512 * 1024));
  for (int i = 0; i < 6; ++i) runtime().prefetch(p + i * 64 * 1024, 64 * 1024, 0, nullptr);
  EXPECT_EQ(memory_use().evictions, 2);
  EXPECT_EQ(memory_use().managed_on_device_bytes, 256 * 1024);
  void* device = runtime().allocate(100 * 1024);  // goes before managed memory
  EXPECT_EQ(memory_use().managed_on_device_bytes, 128 * 1024);
  EXPECT_THROW(runtime().allocate(157 * 1024), CudaError);
  runtime().release(device);
  runtime().release(p);
  EXPECT_EQ(leaks(), "");
}

TEST(Managed, WithoutConcurrentAccessIsNotPrefetched) {
  reset({.concurrent_managed_access = false});
  void* p = runtime().allocate_managed(4096);
  EXPECT_THAT(cuda_error([&] { runtime().prefetch(p, 4096, 0, nullptr); }), HasSubstr("invalid device ordinal"));
  EXPECT_THAT(cuda_error([&] { runtime().prefer(p, 4096, 0); }), HasSubstr("invalid device ordinal"));
  runtime().release(p);
}

TEST(Log, HasEveryPrefetchInItsPlace) {
  reset();
  auto* p = static_cast<char*>(runtime().allocate_managed(kMiB));
  void* side = runtime().create_stream();
  void* event = runtime().create_event();
  runtime().prefetch(p + 65536, 65536, 0, side);
  runtime().record(event, side);
  runtime().wait(nullptr, event);
  count_threads(reinterpret_cast<unsigned*>(p + 65536), 1, nullptr);
  ASSERT_EQ(log().size(), 4u);
  EXPECT_EQ(log()[0].kind, LogEntry::kPrefetch);
  EXPECT_EQ(log()[0].pointer, p + 65536);
  EXPECT_EQ(log()[0].bytes, 65536);
  EXPECT_EQ(log()[0].location, 0);
  EXPECT_EQ(log()[0].stream, 1);
  EXPECT_EQ(log()[2].kind, LogEntry::kWait);
  EXPECT_EQ(log()[2].event, log()[1].event);
  EXPECT_EQ(log()[3].name, "count_threads_kernel");
  EXPECT_LT(log()[0].done, log()[3].done);
  runtime().destroy_event(event);
  runtime().destroy_stream(side);
  runtime().release(p);
}

// A device counter and two streams whose work is done when something waits for it.
class Deferred : public testing::Test {
 protected:
  void SetUp() override {
    reset({.streams = Streams::kDeferred});
    counter_ = static_cast<unsigned*>(runtime().allocate(4));
    pinned_ = static_cast<unsigned*>(runtime().allocate_pinned(4));
    first_ = runtime().create_stream();
    second_ = runtime().create_stream();
    event_ = runtime().create_event();
    *pinned_ = 0;
    runtime().fill_zero(counter_, 4, first_);
    runtime().synchronize(first_);
  }
  void TearDown() override {
    runtime().destroy_event(event_);
    runtime().destroy_stream(first_);
    runtime().destroy_stream(second_);
    runtime().release(counter_);
    runtime().release_pinned(pinned_);
    EXPECT_EQ(leaks(), "");
  }

  unsigned* counter_ = nullptr;
  unsigned* pinned_ = nullptr;
  void *first_ = nullptr, *second_ = nullptr, *event_ = nullptr;
};

TEST_F(Deferred, WorkWaitsUntilSomebodyWaitsForIt) {
  count_threads(counter_, 1, first_);
  EXPECT_EQ(log().back().done, -1);
  runtime().copy(pinned_, counter_, 4, first_);
  EXPECT_EQ(*pinned_, 0u);
  runtime().synchronize(first_);
  EXPECT_EQ(*pinned_, 256u);
}

TEST_F(Deferred, AStreamThatForgetsToWaitSeesOldValues) {
  count_threads(counter_, 1, first_);
  runtime().copy(pinned_, counter_, 4, second_);
  runtime().synchronize(second_);
  EXPECT_EQ(*pinned_, 0u);
}

TEST_F(Deferred, AnEventOrdersTwoStreams) {
  count_threads(counter_, 1, first_);
  runtime().record(event_, first_);
  count_threads(counter_, 1, first_);  // after the event: not waited for
  runtime().wait(second_, event_);
  runtime().copy(pinned_, counter_, 4, second_);
  runtime().synchronize(second_);
  EXPECT_EQ(*pinned_, 256u);
}

TEST_F(Deferred, AnEventIsDoneWhenItsWorkIs) {
  EXPECT_TRUE(runtime().done(event_));  // never recorded
  count_threads(counter_, 1, first_);
  runtime().record(event_, first_);
  int polls = 0;
  while (!runtime().done(event_)) ASSERT_LT(++polls, 10);
  EXPECT_GT(polls, 0);
  unsigned value = 0;
  runtime().copy(&value, counter_, 4, second_);  // to ordinary memory: waits for its own stream only
  EXPECT_EQ(value, 256u);
}

TEST_F(Deferred, OrdinaryMemoryIsReadAtOnceAndPinnedMemoryLater) {
  unsigned ordinary = 7;
  *pinned_ = 7;
  void* other = runtime().allocate(8);
  runtime().copy(other, &ordinary, 4, first_);
  runtime().copy(static_cast<char*>(other) + 4, pinned_, 4, first_);
  ordinary = *pinned_ = 9;
  unsigned both[2] = {};
  runtime().copy(both, other, 8, first_);
  EXPECT_EQ(both[0], 7u);
  EXPECT_EQ(both[1], 9u);
  runtime().release(other);
}

}  // namespace
}  // namespace nibble::emulator
