#include "io/optimizer_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>

#include "core/error.h"
#include "core/rng.h"
#include "io/safetensors.h"

namespace nibble::io {
namespace {
namespace fs = std::filesystem;
using ::testing::HasSubstr;

Tensor random_tensor(at::IntArrayRef shape, uint64_t number) {
  Tensor t = at::empty(shape, at::kFloat);
  auto* values = t.data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    values[i] = random_uniform({4, RngPurpose::kTest, number}, static_cast<uint64_t>(i)) - 0.5f;
  }
  return t;
}

// Two adapters' factors and their optimizer.
struct Training {
  std::vector<optim::ParamRef> params;
  optim::Optimizer optimizer;

  explicit Training(int64_t rank = 4, const std::string& module = "q_proj", Optim optim = Optim::kAdamwTorch)
      : params(make_params(rank, module)), optimizer(config_of(optim), params) {}

  // Small enough a limit that lora_A has 8-bit state and lora_B has not.
  static optim::OptimizerConfig config_of(Optim optim) { return {{0.9, 0.999, 1e-8, 0.01}, optim, 100}; }

  static std::vector<optim::ParamRef> make_params(int64_t rank, const std::string& module) {
    const std::string path = "model.layers.0.self_attn." + module;
    return {{path + ".lora_A.weight", random_tensor({rank, 33}, 1).to(at::kBFloat16), at::zeros({rank, 33}, at::kFloat)},
            {path + ".lora_B.weight", random_tensor({17, rank}, 2).to(at::kBFloat16), at::zeros({17, rank}, at::kFloat)}};
  }
  void train(int64_t from, int64_t to) {
    for (int64_t step = from; step < to; ++step) {
      for (size_t i = 0; i < params.size(); ++i) {
        params[i].grad.copy_(random_tensor(params[i].grad.sizes(), 10 * static_cast<uint64_t>(step + 1) + i));
      }
      optimizer.step(1e-2, 2, 0.0);
    }
  }
  // All bytes of the state and the parameters.
  std::string bytes() const {
    std::string all = std::to_string(optimizer.steps());
    const auto add = [&](const Tensor& t) { all.append(static_cast<const char*>(t.const_data_ptr()), t.nbytes()); };
    optimizer.each_state([&](const std::string&, const Tensor& t) { add(t); });
    for (const optim::ParamRef& p : params) add(p.param);
    return all;
  }
};

class OptimizerStateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(::testing::TempDir()) / (std::string("nibble_optimizer_") + info->name() + ".safetensors");
    fs::remove(path_);
  }
  void TearDown() override { fs::remove(path_); }
  // Expects a refusal that mentions `text` and leaves the optimizer as it was.
  void expect_refused(Training& training, const std::string& text) const {
    const std::string before = training.bytes();
    try {
      load_optimizer(training.optimizer, path_);
      FAIL() << "loaded; expected: " << text;
    } catch (const FormatError& error) {
      EXPECT_THAT(error.message(), HasSubstr(text));
      EXPECT_EQ(error.place().file, path_.string());
    }
    EXPECT_EQ(training.bytes(), before);
  }
  fs::path path_;
};

TEST_F(OptimizerStateTest, ResumesBitForBit) {
  for (const Optim optim : {Optim::kAdamwTorch, Optim::kAdamw8bit, Optim::kPagedAdamw32bit, Optim::kLion8bit}) {
    Training whole(4, "q_proj", optim);
    whole.train(0, 5);
    save_optimizer(whole.optimizer, path_);
    whole.train(5, 12);

    Training resumed(4, "q_proj", optim);
    for (const optim::ParamRef& p : resumed.params) p.param.zero_();
    load_optimizer(resumed.optimizer, path_);
    EXPECT_EQ(resumed.optimizer.steps(), 5);
    resumed.train(5, 12);
    EXPECT_EQ(resumed.bytes(), whole.bytes());
  }
}

TEST_F(OptimizerStateTest, NamesTensorsByModuleAndPart) {
  Training training;
  save_optimizer(training.optimizer, path_);
  const SafetensorsFile file(path_);
  const auto& master = file.at("model.layers.0.self_attn.q_proj.lora_A.weight.master");
  EXPECT_EQ(master.dtype, DType::kF32);
  EXPECT_EQ(master.shape, (std::vector<int64_t>{4, 33}));
  EXPECT_NE(file.find("model.layers.0.self_attn.q_proj.lora_B.weight.exp_avg"), nullptr);
  EXPECT_NE(file.find("model.layers.0.self_attn.q_proj.lora_B.weight.exp_avg_sq"), nullptr);
  EXPECT_EQ(file.entries().size(), 6u);
}

TEST_F(OptimizerStateTest, StoresCodesAndTheirScales) {
  Training training(4, "q_proj", Optim::kAdamw8bit);
  training.train(0, 2);
  save_optimizer(training.optimizer, path_);
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.metadata().at("format"), "nibble-adamw_8bit-1");
  EXPECT_EQ(file.metadata().at("steps"), "2");
  const std::string a = "model.layers.0.self_attn.q_proj.lora_A.weight", b = "model.layers.0.self_attn.q_proj.lora_B.weight";
  EXPECT_EQ(file.at(a + ".exp_avg").dtype, DType::kU8);
  EXPECT_EQ(file.at(a + ".exp_avg").shape, (std::vector<int64_t>{4, 33}));
  EXPECT_EQ(file.at(a + ".exp_avg_sq_absmax").dtype, DType::kF32);
  EXPECT_EQ(file.at(a + ".exp_avg_sq_absmax").shape, (std::vector<int64_t>{1}));
  EXPECT_EQ(file.at(b + ".exp_avg").dtype, DType::kF32);  // too small for codes
  EXPECT_EQ(file.entries().size(), 5u + 3u);
}

TEST_F(OptimizerStateTest, RefusesAnotherOptimizerWithBothNames) {
  save_optimizer(Training(4, "q_proj", Optim::kLion8bit).optimizer, path_);
  Training other(4, "q_proj", Optim::kAdamw8bit);
  expect_refused(other, "nibble-lion_8bit-1, but the run's is nibble-adamw_8bit-1");
}

TEST_F(OptimizerStateTest, RefusesAnotherRank) {
  save_optimizer(Training(4).optimizer, path_);
  Training other(8);
  expect_refused(other, "expected F32 [8, 33]");
}

TEST_F(OptimizerStateTest, RefusesOtherModules) {
  save_optimizer(Training(4, "k_proj").optimizer, path_);
  Training other(4, "q_proj");
  expect_refused(other, "q_proj.lora_A.weight.master' is missing");
}

TEST_F(OptimizerStateTest, RefusesMoreTensorsThanTheRunHas) {
  Training training;
  save_optimizer(training.optimizer, path_);
  optim::Optimizer smaller(Training::config_of(Optim::kAdamwTorch), {training.params[0]});
  EXPECT_THROW(load_optimizer(smaller, path_), FormatError);
}

TEST_F(OptimizerStateTest, RefusesMetadataThatIsNotOurs) {
  for (const char* steps : {"", "-1", "3x", "99999999999999999999", "1.5"}) {
    SafetensorsWriter(path_, {{}, {{"format", "nibble-adamw_torch-1"}, {"steps", steps}}}).close();
    Training training;
    expect_refused(training, "'steps'");
  }
  SafetensorsWriter(path_, {{}, {{"format", "pt"}, {"steps", "1"}}}).close();
  Training training;
  expect_refused(training, "'format'");
}

TEST_F(OptimizerStateTest, RefusesAFileCutAtAnyLength) {
  Training training;
  training.train(0, 1);
  save_optimizer(training.optimizer, path_);
  std::ifstream file(path_, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(file), {}};
  const std::string before = training.bytes();
  for (size_t size = 0; size < whole.size(); size += size < 1200 ? 7 : 401) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    ASSERT_THROW(load_optimizer(training.optimizer, path_), FormatError) << size;
  }
  EXPECT_EQ(training.bytes(), before);
}

TEST_F(OptimizerStateTest, AMissingFileIsAnIoError) {
  Training training;
  EXPECT_THROW(load_optimizer(training.optimizer, path_), IoError);
}

}  // namespace
}  // namespace nibble::io
