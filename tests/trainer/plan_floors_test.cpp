// The plan against the floors that were worked out by hand for models and settings before the program existed (docs/memory.md,
// "Against the floors"). Units: trainer/memory_plan
#include <gtest/gtest.h>

#include <array>

#include "io/hf_config.h"
#include "tests/support/golden_path.h"
#include "trainer/from_config.h"

namespace nibble::trainer {
namespace {

constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
constexpr std::array<int64_t, 3> kLengths{512, 1024, 2048};

// GiB at 512, 1024 and 2048 tokens.
struct Setting {
  const char* name;
  int64_t r;
  Optim optim;
  Recompute recompute;
  bool host_embedding, head_4bit;
};
constexpr std::array<Setting, 6> kSettings{{
    {"r 16, 8-bit Adam", 16, Optim::kAdamw8bit, Recompute::kLayer, false, false},
    {"r 64, fp32 Adam", 64, Optim::kAdamwTorch, Recompute::kLayer, false, false},
    {"r 64, 8-bit Adam", 64, Optim::kAdamw8bit, Recompute::kLayer, false, false},
    {"embedding on the host", 16, Optim::kAdamw8bit, Recompute::kLayer, true, false},
    {"and the head in 4 bits", 16, Optim::kAdamw8bit, Recompute::kLayer, true, true},
    {"no recompute", 16, Optim::kAdamw8bit, Recompute::kNone, false, false},
}};
struct Floors {
  const char* shape;
  std::array<std::array<double, 3>, 6> gib;
};
constexpr std::array<Floors, 6> kFloors{{
    {"llama-7b", {{{4.72, 4.93, 5.37}, {6.28, 6.50, 6.93}, {5.39, 5.61, 6.04}, {4.47, 4.69, 5.12}, {4.29, 4.51, 4.94}, {6.5, 8.6, 12.7}}}},
    {"llama-3.1-8b", {{{6.59, 6.82, 7.27}, {8.23, 8.46, 8.91}, {7.30, 7.53, 7.98}, {5.61, 5.84, 6.29}, {4.89, 5.11, 5.57}, {8.5, 10.7, 15.0}}}},
    {"llama-13b", {{{8.14, 8.45, 9.07}, {10.59, 10.90, 11.52}, {9.20, 9.51, 10.13}, {7.84, 8.15, 8.77}, {7.61, 7.92, 8.54}, {11.0, 14.2, 20.6}}}},
    {"qwen2.5-14b", {{{10.86, 11.20, 11.89}, {13.55, 13.89, 14.58}, {12.02, 12.36, 13.05}, {9.41, 9.75, 10.44}, {8.34, 8.68, 9.36}, {14.0, 17.4, 24.3}}}},
    {"qwen2.5-32b", {{{20.28, 20.77, 21.74}, {25.53, 26.01, 26.99}, {22.54, 23.03, 24.00}, {18.83, 19.32, 20.29}, {17.76, 18.24, 19.21}, {26.9, 34, 48}}}},
    {"llama-33b", {{{18.38, 18.91, 19.97}, {23.15, 23.68, 24.74}, {20.44, 20.97, 22.03}, {17.99, 18.52, 19.58}, {17.69, 18.22, 19.28}, {24.0, 30, 43}}}},
}};

PlanInput input_of(const char* shape, const Setting& setting, int64_t tokens) {
  schema::RunConfig config;
  config.lora_r = setting.r;
  config.optim = setting.optim;
  config.recompute = setting.recompute;
  config.offload_embedding = setting.host_embedding ? AutoSwitch::kTrue : AutoSwitch::kFalse;
  config.lm_head_load_in_4bit = setting.head_4bit;
  config.base_residency = BaseResidency::kResident;
  PlanInput input = plan_input(config, io::read_hf_config(test::golden_path(std::string("shapes/") + shape + "/config.json")), 0);
  input.device = PlanDevice::kCuda;
  set_batch(input, 1, tokens, tokens);
  return input;
}

// Within 5 % of the floor and what the floors leave out by their own word: 4 bytes of fp32 master and 2 more of an fp32
// gradient for every adapter parameter. Without recompute the plan is below the floor, which keeps the MLP's product for
// every token and layer: nobody does, for it comes back with its gradient (nn/swiglu.h).
TEST(PlanFloors, AreMetAtEverySetting) {
  for (const Floors& model : kFloors) {
    for (size_t s = 0; s < kSettings.size(); ++s) {
      for (size_t t = 0; t < kLengths.size(); ++t) {
        const PlanInput input = input_of(model.shape, kSettings[s], kLengths[t]);
        const double planned = static_cast<double>(plan_memory(input).total_bytes()) / kGib;
        double floor = model.gib[s][t] + 6.0 * static_cast<double>(adapter_parameters(input)) / kGib;
        if (kSettings[s].recompute == Recompute::kNone) {
          floor -= static_cast<double>(input.model.num_hidden_layers * kLengths[t] * input.model.intermediate_size * 2) / kGib;
        }
        EXPECT_NEAR(planned / floor, 1.0, 0.05) << model.shape << ", " << kSettings[s].name << ", " << kLengths[t] << " tokens: planned " << planned
                                                << ", floor " << floor;
      }
    }
  }
}

}  // namespace
}  // namespace nibble::trainer
