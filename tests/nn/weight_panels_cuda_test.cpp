// Weights that are decoded ahead on a second stream: the bits of a plain decode however the device orders the streams, no
// launch more, and no panel written while it is read.
#include "nn/weight_panels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "gpu/runtime_table.h"
#include "quant/blockwise.h"
#include "tests/emulator/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

using emulator::LogEntry;
using emulator::Streams;
using testing::HasSubstr;

constexpr int64_t kLeastPanel = 16 << 20;          // Arena's smallest block
constexpr int kMainStream = 1, kSecondStream = 2;  // by creation

// What the device does first while nobody waits: nothing, all that the host has queued on the main stream, or the second one.
enum class First : uint8_t { kNothing, kMain, kSecond };

class WeightPanelsCuda : public testing::TestWithParam<std::tuple<Streams, First>> {
 protected:
  void SetUp() override {
    emulator::reset({.streams = std::get<Streams>(GetParam())});
    const gpu::RuntimeTable& runtime = this->runtime();
    place_.queue = {test::emulated_module(), runtime.create_stream()};
    const int64_t shapes[][2] = {{24, 32}, {8, 32}, {16, 64}, {40, 32}, {8, 64}};
    for (size_t i = 0; i < std::size(shapes); ++i) {
      here_.push_back(quant::quantize(test::random_tensor({shapes[i][0], shapes[i][1]}, i + 1), {}));
      there_.push_back(here_.back());
      for (Tensor* t : {&there_.back().codes, &there_.back().absmax_codes, &there_.back().nested_absmax}) *t = test::to_device(*t);
    }
    emulator::clear_log();
  }
  void TearDown() override {
    there_.clear();
    uses_.clear();
    runtime().destroy_stream(place_.queue.stream);
    EXPECT_EQ(emulator::leaks(), "");
  }
  const gpu::RuntimeTable& runtime() const { return *test::emulated_module()->runtime; }

  // Asks for a weight and queues a reader of it.
  void use(WeightPanels& panels, int weight) {
    const Tensor decoded = panels.decoded(there_[static_cast<size_t>(weight)], at::kFloat);
    uses_.push_back({weight, test::device_empty(decoded.sizes(), at::kFloat)});
    queue_copy(uses_.back().second, decoded);
    turn();
  }
  void use_all(WeightPanels& panels, const std::vector<int>& weights) {
    for (const int weight : weights) use(panels, weight);
  }
  void queue_copy(const Tensor& to, const Tensor& from) {
    runtime().copy(to.data_ptr(), from.data_ptr(), static_cast<int64_t>(to.nbytes()), place_.queue.stream);
  }
  void turn() {
    const First first = std::get<First>(GetParam());
    if (first == First::kMain) emulator::run_stream(kMainStream);
    if (first == First::kSecond) emulator::run_stream(kSecondStream);
  }
  // Every reader saw the bits that the CPU decodes.
  void expect_right() {
    runtime().synchronize(place_.queue.stream);
    for (const auto& [weight, copy] : uses_) {
      EXPECT_TRUE(at::equal(copy, quant::dequantize(here_[static_cast<size_t>(weight)], at::kFloat))) << "weight " << weight;
    }
  }
  static int64_t launches(int stream) {
    int64_t count = 0;
    for (const LogEntry& e : emulator::log()) count += e.kind == LogEntry::kLaunch && e.stream == stream;
    return count;
  }

  Place place_;
  std::vector<quant::QuantizedWeight> here_, there_;
  std::vector<std::pair<int, Tensor>> uses_;
};
INSTANTIATE_TEST_SUITE_P(Orders, WeightPanelsCuda,
                         testing::Values(std::tuple(Streams::kEager, First::kNothing), std::tuple(Streams::kDeferred, First::kNothing),
                                         std::tuple(Streams::kDeferred, First::kMain), std::tuple(Streams::kDeferred, First::kSecond)));

TEST_P(WeightPanelsCuda, GivesTheBitsOfAPlainDecodeWithoutALaunchMore) {
  const std::vector<int> training{0, 1, 2, 3, 4, 4, 3, 2, 1, 0}, scoring{0, 1, 2, 3, 4};
  WeightPanels panels(place_);
  for (int pass = 0; pass < 3; ++pass) {
    emulator::clear_log();
    panels.begin(1);
    use_all(panels, training);
    panels.begin(2);
    use_all(panels, scoring);
    EXPECT_EQ(launches(kMainStream), pass == 0 ? 15 : 2) << "the first of each pass";
    EXPECT_EQ(launches(kSecondStream), pass == 0 ? 0 : 13);
  }
  expect_right();
  EXPECT_EQ(panels.bytes(), 2 * kLeastPanel) << "two panels";
}

TEST_P(WeightPanelsCuda, DecodesWhenAskedWhereNothingIsKnownOrWanted) {
  WeightPanels unknown(place_), unwanted(place_);
  unwanted.set_ahead(false);
  for (int pass = 0; pass < 3; ++pass) {
    unwanted.begin(0);
    for (WeightPanels* panels : {&unknown, &unwanted}) use_all(*panels, {0, 1, 2, 3});
  }
  EXPECT_EQ(launches(kMainStream), 24);
  EXPECT_EQ(emulator::calls("cudaStreamCreateWithFlags"), 1) << "the test's own";
  EXPECT_EQ(unwanted.bytes(), kLeastPanel);
  expect_right();
}

TEST_P(WeightPanelsCuda, EndsPredictionWhereAPassDiffersAndLearnsTheNewOrder) {
  WeightPanels panels(place_);
  panels.begin(0);
  use_all(panels, {0, 1, 2, 3});
  emulator::clear_log();
  panels.begin(0);
  use_all(panels, {0, 1, 3, 2, 4});  // weight 2 was decoded in vain
  EXPECT_EQ(launches(kMainStream) + launches(kSecondStream), 6);
  emulator::clear_log();
  panels.begin(0);
  use_all(panels, {0, 1, 3, 2, 4});
  EXPECT_EQ(launches(kMainStream) + launches(kSecondStream), 5);
  EXPECT_EQ(launches(kSecondStream), 4);
  expect_right();
}

TEST_P(WeightPanelsCuda, DecodesNothingAheadThatIsNotThere) {
  WeightPanels panels(place_);
  const quant::QuantizedWeight* last_of_layer = &there_[1];
  panels.set_readable([&](const quant::QuantizedWeight& weight) { return &weight <= last_of_layer; });
  panels.begin(0);
  use_all(panels, {0, 1, 2, 3});
  emulator::clear_log();
  panels.begin(0);
  use_all(panels, {0, 1});
  last_of_layer = &there_[3];  // the next layer is entered
  use_all(panels, {2, 3});
  EXPECT_EQ(launches(kMainStream), 2) << "the first of each layer";
  EXPECT_EQ(launches(kSecondStream), 2);
  expect_right();
}

TEST_P(WeightPanelsCuda, CanBeRecordedAsAGraph) {
  const std::vector<int> pass{0, 1, 2, 3, 4};
  WeightPanels panels(place_);
  for (int warm_up = 0; warm_up < 2; ++warm_up) {
    panels.begin(0);
    use_all(panels, pass);
  }
  uses_.clear();
  for (const int weight : pass) {
    const quant::QuantizedWeight& w = there_[static_cast<size_t>(weight)];
    uses_.push_back({weight, test::device_empty({w.out, w.in}, at::kFloat)});
  }
  panels.begin(0);
  runtime().begin_capture(place_.queue.stream);
  for (const auto& [weight, copy] : uses_) queue_copy(copy, panels.decoded(there_[static_cast<size_t>(weight)], at::kFloat));
  void* graph = runtime().end_capture(place_.queue.stream);
  for (int replay = 0; replay < 2; ++replay) {  // streams first and last
    for (auto& [weight, copy] : uses_) copy.fill_(-1);
    runtime().replay(graph, place_.queue.stream);
    expect_right();
  }
  runtime().destroy_graph(graph);
}

TEST_P(WeightPanelsCuda, GoOnAfterAPieceThatWasRepeatedWithoutThem) {
  WeightPanels panels(place_);
  for (int warm_up = 0; warm_up < 2; ++warm_up) {
    panels.begin(0);
    use_all(panels, {0, 1, 2, 3, 4});
  }
  const auto key = [&] {
    std::vector<int64_t> described;
    panels.describe_to(described);
    return described;
  };
  panels.begin(0);
  const std::vector<int64_t> at_begin = key();
  use_all(panels, {0, 1});  // the piece; weight 2 comes meanwhile
  panels.join();
  const WeightPanels::State after = panels.state(0);
  const std::vector<int64_t> key_after = key();
  EXPECT_THAT(after.asked, testing::ElementsAre(&there_[0], &there_[1]));
  EXPECT_EQ(after.coming, &there_[2]);

  panels.begin(0);
  EXPECT_EQ(key(), at_begin);
  panels.restore(after, 0);  // its launches were made by a replay: what it leaves in the panels is still there
  EXPECT_EQ(key(), key_after);
  emulator::clear_log();
  use_all(panels, {2, 3, 4});
  EXPECT_EQ(launches(kMainStream), 0) << "weight 2 is there";
  EXPECT_EQ(launches(kSecondStream), 2);
  EXPECT_EQ(panels.position(), 5u);
  expect_right();
}

TEST_P(WeightPanelsCuda, QuotesEveryCallThatFailsAndLeaksNothing) {
  for (const char* function : {"cudaMalloc", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaEventRecord",
                               "cudaStreamWaitEvent", "cudaLaunchKernelEx"}) {
    WeightPanels panels(place_);
    constexpr int kEccError = 214;
    emulator::fail_call(function, 1, kEccError);
    try {
      for (int pass = 0; pass < 2; ++pass) {
        panels.begin(0);
        panels.decoded(there_[0], at::kFloat);
        panels.decoded(there_[1], at::kFloat);
      }
      ADD_FAILURE() << function << " did not fail";
    } catch (const CudaError& error) {
      EXPECT_THAT(error.what(), HasSubstr(std::string(function) + "("));
    }
  }
}

TEST(WeightPanels, AreOneOnTheCpu) {
  const quant::QuantizedWeight first = quant::quantize(test::random_tensor({16, 32}, 1), {}),
                               second = quant::quantize(test::random_tensor({8, 64}, 2), {});
  WeightPanels panels;
  for (int pass = 0; pass < 2; ++pass) {
    panels.begin(0);
    const Tensor a = panels.decoded(first, at::kBFloat16);
    EXPECT_TRUE(at::equal(a, quant::dequantize(first, at::kBFloat16)));
    const Tensor b = panels.decoded(second, at::kBFloat16);
    EXPECT_TRUE(at::equal(b, quant::dequantize(second, at::kBFloat16)));
    EXPECT_EQ(a.data_ptr(), b.data_ptr());
  }
  EXPECT_EQ(panels.bytes(), kLeastPanel);
}

}  // namespace
}  // namespace nibble::nn
