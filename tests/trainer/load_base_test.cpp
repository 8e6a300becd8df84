#include "trainer/load_base.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "nn/lora.h"
#include "tests/support/golden_path.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;

class LoadBase : public testing::Test {
 protected:
  LoadBase() {
    config_.packed_cache_dir = (folder_ / "cache").string();
    config_.bnb_4bit_compute_dtype = ComputeDtype::kFloat32;
  }
  nn::Model load(bool streamed) {
    said_.clear();
    return load_base(*source_, config_, {streamed, false}, {}, {[this](const std::string& line) { said_ += line + "\n"; }, {}});
  }
  // Loss and gradients of one step from a fixed adapter.
  static std::vector<Tensor> step(nn::Model model) {
    nn::attach_lora(model, {}, 7);
    model.each_lora([&](const std::string&, nn::Lora& lora) { lora.b.copy_(test::random_tensor(lora.b.sizes(), 5, 0.1)); });
    nn::Pass pass(model, 64);
    const test::TinyBatch batch({9, 17}, model.config.vocab_size);
    std::vector<Tensor> out{at::scalar_tensor(pass.forward_backward(batch.view(), {}).nll, at::kDouble)};
    model.each_lora([&](const std::string&, nn::Lora& lora) { out.insert(out.end(), {lora.da, lora.db}); });
    return out;
  }
  static void expect_same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
  }
  bool cached() const { return fs::exists(folder_ / "cache"); }

  test::TemporaryFolder folder_;
  std::unique_ptr<io::WeightSource> source_ = io::open_weight_source(test::golden_path("models/llama"));
  schema::RunConfig config_;
  std::string said_;
};

TEST_F(LoadBase, StreamedAndCachedBasesTrainToTheBitsOfTheResidentOne) {
  const auto expected = step(load(/*streamed=*/false));
  EXPECT_FALSE(cached()) << "a resident run makes no cache by itself";
  nn::Model streamed = load(/*streamed=*/true);
  EXPECT_TRUE(cached());
  EXPECT_NE(said_.find("wrote the packed base"), std::string::npos);
  EXPECT_NE(said_.find("the base is streamed from"), std::string::npos);
  ASSERT_NE(streamed.feed, nullptr);
  EXPECT_FALSE(streamed.feed->resident(0));
  expect_same(step(std::move(streamed)), expected);
  nn::Model mapped = load(/*streamed=*/false);
  EXPECT_EQ(mapped.feed, nullptr);
  EXPECT_EQ(said_, "") << "it takes the cache that is there";
  expect_same(step(std::move(mapped)), expected);
}

TEST_F(LoadBase, TheHeadInFourBitsIsTheSameStreamed) {
  const auto dense = step(load(false));
  config_.lm_head_load_in_4bit = true;
  nn::Model resident = load(false);
  EXPECT_TRUE(resident.head.quantized());
  const auto expected = step(std::move(resident));
  expect_same(step(load(true)), expected);
  EXPECT_FALSE(at::equal(expected[0], dense[0])) << "it is the one saving that changes numbers";
}

TEST_F(LoadBase, MakesTheCacheOfAResidentBaseWhereItIsAsked) {
  config_.packed_cache = AutoSwitch::kTrue;
  load(false);
  EXPECT_TRUE(cached());
  config_.packed_cache = AutoSwitch::kFalse;
  const nn::Model model = load(false);
  EXPECT_EQ(said_, "");
}

TEST_F(LoadBase, SaysWhatCannotBeHad) {
  config_.packed_cache = AutoSwitch::kFalse;
  EXPECT_THROW(load(true), ConfigError);
  config_.packed_cache = AutoSwitch::kTrue;
  test::put_file(folder_ / "cache", "a file where the folder should be");
  EXPECT_THROW(load(true), IoError);
  EXPECT_NO_THROW(load(false));  // which does without
  EXPECT_NE(said_.find("no packed cache"), std::string::npos);
  // The file has fp32 weights: dense in bf16 they would be copies.
  config_.load_in_4bit = false;
  EXPECT_NO_THROW(load(true));
  config_.bnb_4bit_compute_dtype = ComputeDtype::kBfloat16;
  EXPECT_THROW(load(true), ConfigError);
}

TEST_F(LoadBase, CanBeStopped) {
  int calls = 0;
  const LoadHooks hooks{{}, [&] {
                          if (++calls == 4) throw Interrupted("enough");
                        }};
  EXPECT_THROW(load_base(*source_, config_, {false, false}, {}, hooks), Interrupted);
  calls = 0;
  EXPECT_THROW(load_base(*source_, config_, {true, false}, {}, hooks), Interrupted);
}

TEST_F(LoadBase, TellsTheAccountWhatIsMapped) {
  load(true);
  MemoryAccount account;
  nn::Place place;
  place.account = &account;
  const auto base_bytes = [&](bool streamed) {
    const nn::Model model = load_base(*source_, config_, {streamed, false}, place, {});
    return account.in_use(MemoryPart::kBase, MemorySide::kHost);
  };
  const int64_t resident = base_bytes(false);
  EXPECT_GT(resident, 0);
  EXPECT_EQ(base_bytes(true), resident) << "two layers are all of this model";
  EXPECT_EQ(account.total(MemorySide::kHost), 0) << "given back with the model";
}

// A planner may choose what can be had.
TEST_F(LoadBase, KnowsWhetherItCanBeStreamed) {
  const auto can = [&](bool on_device) { return can_be_streamed(*source_, config_, on_device); };
  EXPECT_TRUE(can(false));
  EXPECT_TRUE(can(true));
  config_.packed_cache = AutoSwitch::kFalse;
  EXPECT_FALSE(can(false));
  EXPECT_TRUE(can(true));
  // The file has fp32 weights.
  config_.load_in_4bit = false;
  EXPECT_TRUE(can(false));
  EXPECT_FALSE(can(true));
  config_.bnb_4bit_compute_dtype = ComputeDtype::kBfloat16;
  EXPECT_FALSE(can(false));
}

}  // namespace
}  // namespace nibble::trainer
