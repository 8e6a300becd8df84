#include "trainer/accounting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "core/error.h"
#include "tests/support/tiny_model.h"
#include "trainer/json_fields.h"

namespace nibble::trainer {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr MemorySide kHost = MemorySide::kHost, kDevice = MemorySide::kDevice;

MemoryPlan some_plan() {
  MemoryPlan plan;
  plan.components = {{"packed base", MemoryPart::kBase, "cpu", 10 << 20},
                     {"norms", MemoryPart::kBase, "cpu", 1 << 20},
                     {"saved activations", MemoryPart::kSavedActivations, "cpu", 20 << 20},
                     {"libraries", MemoryPart::kLibraries, "cpu", 30 << 20}};
  return plan;
}

const MemoryLine* line_of(const std::vector<MemoryLine>& lines, MemoryPart part, MemorySide side) {
  const auto found = std::find_if(lines.begin(), lines.end(), [&](const MemoryLine& l) { return l.part == part && l.side == side; });
  return found == lines.end() ? nullptr : &*found;
}

// What explain() makes of an exception.
template <class Thrower>
std::string explained(const RunMemory& memory, const Thrower& thrower) {
  try {
    try {
      thrower();
    } catch (const std::exception&) {
      memory.explain();
    }
  } catch (const OutOfMemoryError& e) {
    return e.message();
  }
  return "";
}

TEST(RunMemory, PutsPlanAndUseSideBySide) {
  RunMemory memory;
  memory.set_plan(some_plan());
  memory.account().add(MemoryPart::kBase, kHost, 9 << 20);
  memory.account().add(MemoryPart::kPanels, kHost, 2 << 20);
  memory.account().add(MemoryPart::kPanels, kHost, -(1 << 20));
  const auto lines = memory.lines();
  const MemoryLine* base = line_of(lines, MemoryPart::kBase, kHost);
  ASSERT_NE(base, nullptr);
  EXPECT_EQ(base->planned, 11 << 20);  // the norms are of the base
  EXPECT_EQ(base->in_use, 9 << 20);
  const MemoryLine* panels = line_of(lines, MemoryPart::kPanels, kHost);
  ASSERT_NE(panels, nullptr);
  EXPECT_EQ(panels->planned, 0);
  EXPECT_EQ(panels->peak, 2 << 20);
  EXPECT_EQ(line_of(lines, MemoryPart::kCache, kHost), nullptr);
  // The rest: all parts add up to the process.
  const int64_t in_use = std::accumulate(lines.begin(), lines.end(), int64_t{0}, [](int64_t sum, const MemoryLine& l) { return sum + l.in_use; });
  EXPECT_NEAR(static_cast<double>(in_use), static_cast<double>(resident_bytes()), 4 << 20);
  EXPECT_EQ(memory.planned_bytes(), 61 << 20);
  EXPECT_THAT(memory.table(), HasSubstr("saved activations"));
}

TEST(RunMemory, NamesHostMemoryOfADevicesRun) {
  RunMemory memory;
  memory.account().add(MemoryPart::kBase, kDevice, 3 << 20);
  memory.account().add(MemoryPart::kEmbedding, kHost, 1 << 20);
  const NamedNumbers mib = memory.in_use_mib();
  const auto value = [&](const std::string& name) {
    const auto found = std::find_if(mib.begin(), mib.end(), [&](const auto& entry) { return entry.first == name; });
    return found == mib.end() ? -1.0 : found->second;
  };
  EXPECT_EQ(value("base"), 3.0);
  EXPECT_EQ(value("host_embedding"), 1.0);
  EXPECT_GT(value("host_libraries"), 0.0);
  EXPECT_EQ(value("embedding"), -1.0);
}

TEST(RunMemory, KnowsWhichTensorsOfAModelAreWhat) {
  RunMemory memory;
  const nn::Model model = test::tiny_model({});
  memory.assign(model);
  const auto in_use = [&](MemoryPart part) { return memory.account().in_use(part, kHost); };
  EXPECT_EQ(in_use(MemoryPart::kEmbedding), static_cast<int64_t>(model.embedding.nbytes()));
  EXPECT_EQ(in_use(MemoryPart::kHead), static_cast<int64_t>(model.head.dense.nbytes()));
  int64_t adapters = 0, gradients = 0;
  model.each_lora([&](const std::string&, const nn::Lora& lora) {
    adapters += static_cast<int64_t>(lora.a.nbytes() + lora.b.nbytes());
    gradients += static_cast<int64_t>(lora.da.nbytes() + lora.db.nbytes());
  });
  EXPECT_EQ(in_use(MemoryPart::kAdapters), adapters);
  EXPECT_EQ(in_use(MemoryPart::kGradients), gradients);
}

TEST(Explain, SaysWhichComponentAskedForHowMuchAndWhatWasPlanned) {
  RunMemory memory;
  memory.set_plan(some_plan());
  const std::string text = explained(memory, [&] {
    const MemoryStage stage(&memory.account(), "training");
    memory.account().add(MemoryPart::kSavedActivations, kHost, 18 << 20);
    throw AllocationFailed(MemoryPart::kSavedActivations, kHost, 5 << 20, "");
  });
  EXPECT_THAT(text, HasSubstr("out of memory while training: saved activations asked for 5.0 MiB of host memory; 18.0 MiB of it are in use, 20.0 MiB were planned"));
  EXPECT_THAT(text, HasSubstr("recompute: layer"));
  EXPECT_THAT(text, HasSubstr("program and libraries"));
}

TEST(Explain, UnderstandsOtherPeoplesErrors) {
  RunMemory memory;
  memory.set_plan(some_plan());
  const MemoryStage stage(&memory.account(), "loading the base", MemoryPart::kBase);
  EXPECT_THAT(explained(memory, [] { throw std::bad_alloc(); }), HasSubstr("while loading the base: base asked for more of host memory"));
  EXPECT_THAT(explained(memory, [] { throw std::runtime_error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 3145728 bytes. Error code 12"); }),
              HasSubstr("base asked for 3.0 MiB of host memory"));
  EXPECT_THAT(explained(memory, [] { throw std::runtime_error("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has\nmore"); }),
              testing::AllOf(HasSubstr("asked for 2560.0 MiB of device memory"), HasSubstr("the system said: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has\n")));
  EXPECT_THAT(explained(memory, [] { throw CudaError("cudaMalloc(&p, n) failed: out of memory (cudaErrorMemoryAllocation, runtime_cuda.cu:30)"); }),
              HasSubstr("of device memory"));
  EXPECT_THAT(explained(memory, [] { throw IoError("cannot map it", "model.safetensors", 12); }), HasSubstr("of host memory"));
  EXPECT_THAT(explained(memory, [] { throw OutOfMemoryError("the optimizer's file"); }), HasSubstr("the optimizer's file\n"));
}

// A real allocation that LibTorch refuses.
TEST(Explain, KnowsWhatLibTorchSays) {
  RunMemory memory;
  const MemoryStage stage(&memory.account(), "training", MemoryPart::kLogits);
  EXPECT_THAT(explained(memory, [] { at::empty({int64_t{1} << 56}, at::kByte); }),
              HasSubstr("logits asked for 68719476736.0 MiB of host memory"));
}

TEST(Explain, LeavesOtherErrorsAlone) {
  const RunMemory memory;
  const auto rethrown = [&](const auto& error) {
    try {
      throw error;
    } catch (const std::exception&) {
      memory.explain();
    }
  };
  EXPECT_THROW(rethrown(DataError("odd", {"a.jsonl", 1})), DataError);
  EXPECT_THROW(rethrown(CudaError("an illegal memory access (cudaErrorIllegalAddress)")), CudaError);
  EXPECT_THROW(rethrown(Interrupted("SIGINT")), Interrupted);
  EXPECT_THROW(rethrown(std::logic_error("x")), std::logic_error);
  EXPECT_EQ(explained(memory, [] { throw OutOfMemoryError("the plan"); }), "the plan");  // nothing was planned: as it is
}

TEST(MetricsMemory, GoesThroughJsonAndBack) {
  MetricsRow row;
  row.step = 3;
  row.memory = NamedNumbers{{"base", 1.5}, {"libraries", 190.0}};
  const std::string line = metrics_line(row);
  EXPECT_THAT(line, HasSubstr("\"memory\":{\"base\":1.5,\"libraries\":190.0}"));
  EXPECT_EQ(parse_metrics_line(line, "").memory, row.memory);
  row.memory.reset();
  EXPECT_THAT(metrics_line(row), Not(HasSubstr("memory\"")));
}

}  // namespace
}  // namespace nibble::trainer
