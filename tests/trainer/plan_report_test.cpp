// Units: trainer/plan_report trainer/plan_budget trainer/config_plan
#include "trainer/plan_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/memory_limit.h"
#include "schema/load.h"
#include "tests/support/golden_path.h"
#include "tests/support/temporary_folder.h"
#include "trainer/config_plan.h"
#include "trainer/plan_budget.h"

namespace nibble::trainer {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int64_t kGib = int64_t{1} << 30;

std::string shape(const std::string& name) { return "model_name_or_path=" + test::golden_path("shapes/" + name); }

PlanReport plan_of(std::vector<std::string> keys, double gpu_memory_gib = 0) {
  return plan_config(schema::load_overrides(keys, schema::Needs::kModel).config, gpu_memory_gib);
}

TEST(PlanReport, AddsUpInJsonAndSaysWhetherItFits) {
  const PlanReport report = plan_of({shape("tinyllama-1.1b"), "max_length=512"});
  const auto json = nlohmann::json::parse(plan_json(report));
  int64_t sum = 0;
  for (const auto& component : json.at("components")) {
    EXPECT_EQ(component.at("device"), "cpu");
    sum += component.at("bytes").get<int64_t>();
  }
  EXPECT_EQ(json.at("total_bytes"), (nlohmann::json{{"cpu", sum}}));
  EXPECT_EQ(json.at("fits").at("cpu"), report.fits());
  for (const char* card : {"6", "8", "12", "16", "24"}) EXPECT_EQ(json.at("fits").at(card), true) << card;
  EXPECT_EQ(json.at("cards").size(), 5u);
  EXPECT_EQ(json.at("choices").at("device"), "cpu");
  EXPECT_EQ(json.at("choices").at("recompute"), "elementwise");
  EXPECT_EQ(json.at("choices").at("recompute_layers").at("elementwise"), 22);
  EXPECT_GT(json.at("tokens_per_s"), 0);
}

TEST(PlanReport, NamesTheGpusAndTheHostsMemory) {
  const PlanReport report = plan_of({shape("llama-3.1-8b"), "max_length=2048", "offload_embedding=true"}, 8);
  EXPECT_TRUE(report.fits());
  EXPECT_EQ(report.budget_bytes, 8 * kGib - kCardReserveBytes);
  const std::string text = plan_text(report);
  EXPECT_THAT(text, HasSubstr("memory on the GPU"));
  EXPECT_THAT(text, HasSubstr("memory of the host\n  embedding"));
  EXPECT_THAT(text, HasSubstr("fits: a GPU of 8 GB has 7.70 GiB"));
  EXPECT_THAT(text, HasSubstr("more memory would buy:"));
  EXPECT_THAT(text, HasSubstr("RTX 4090"));
  const auto json = nlohmann::json::parse(plan_json(report));
  EXPECT_EQ(json.at("total_bytes").at("cuda"), report.plan.total_bytes());
  EXPECT_EQ(json.at("total_bytes").at("cpu"), report.plan.total_bytes("cpu"));
  EXPECT_EQ(json.at("choices").at("offload_embedding"), true);
}

TEST(PlanReport, SaysWhatWouldMakeItFit) {
  const PlanReport report = plan_of({shape("llama-13b"), "max_length=2048", "recompute=none", "base_residency=resident"}, 12);
  EXPECT_FALSE(report.fits());
  const std::string text = plan_text(report);
  EXPECT_THAT(text, HasSubstr("does not fit: a GPU of 12 GB has 11.70 GiB"));
  EXPECT_THAT(text, HasSubstr("recompute: auto"));
  const auto json = nlohmann::json::parse(plan_json(report));
  EXPECT_EQ(json.at("fits").at("cuda"), false);
  EXPECT_GT(json.at("changes").at(0).at("cost_percent"), 0);
}

TEST(PlanReport, OfAPlanAloneAgainstALimit) {
  const PlanReport report = plan_of({shape("tinyllama-1.1b")});
  EXPECT_THAT(plan_text(report.plan, report.input, report.plan.total_bytes()), HasSubstr("fits: this run"));
  EXPECT_THAT(plan_text(report.plan, report.input, 1), HasSubstr("does not fit"));
  EXPECT_EQ(nlohmann::json::parse(plan_json(report.plan, report.input, 1)).at("fits").at("cpu"), false);
}

TEST(ConfigPlan, MaxMemoryIsTheBudget) {
  const PlanReport on_cpu = plan_of({shape("llama-7b"), "max_memory=2GiB", "base_residency=resident"});
  EXPECT_EQ(on_cpu.budget_bytes, 2 * kGib);
  EXPECT_FALSE(on_cpu.fits());
  const PlanReport on_gpu = plan_of({shape("llama-7b"), "max_memory=5.7GiB", "device=cuda", "max_length=512"});
  EXPECT_TRUE(on_gpu.fits());
  EXPECT_EQ(on_gpu.budget_of, "max_memory");
  EXPECT_EQ(on_gpu.plan.device, "cuda");
}

TEST(PlanBudget, LeavesAShareOfTheMachineAndAReserveOfACard) {
  const Budget budget = cpu_budget({}, /*base_is_open=*/true);
  EXPECT_LT(budget.bytes, memory_limit().bytes);
  EXPECT_GT(budget.bytes, memory_limit().bytes / 2);
  EXPECT_EQ(card_budget(6).bytes, 6 * kGib - kCardReserveBytes);
  EXPECT_EQ(card_budget(6).of, "a GPU of 6 GB");
}

TEST(PlanBudget, CountsTokenizerAndRowsByTheirFiles) {
  const test::TemporaryFolder folder;
  schema::RunConfig config;
  config.model_name_or_path = folder.path().string();
  const int64_t before = expected_process_bytes(config);
  test::put_file(folder / "rows.jsonl", std::string(8 << 20, ' '));
  config.train_file = {(folder / "rows.jsonl").string(), (folder / "missing.jsonl").string()};
  EXPECT_GE(expected_process_bytes(config), before + (16 << 20));
}

// 32 rows of 2 KiB lie in a window that the kernel brings at once.
TEST(PlanBudget, CountsWhatIsLookedUpOfAnEmbedding) {
  const auto rows_with = [](std::vector<int32_t> ids) { return data::Dataset({data::Sample{ids, ids}}, 64, false); };
  constexpr int64_t kRow = 2048;
  EXPECT_EQ(looked_up_bytes(rows_with({0, 31}), {}, kRow), kFaultAroundBytes);
  EXPECT_EQ(looked_up_bytes(rows_with({0, 31, 32}), rows_with({1000, 1001}), kRow), 3 * kFaultAroundBytes);
  EXPECT_EQ(looked_up_bytes(rows_with({0}), {}, 3 * kFaultAroundBytes), 3 * kFaultAroundBytes);
  const test::TemporaryFolder folder;
  schema::RunConfig config;
  config.model_name_or_path = folder.path().string();
  EXPECT_GT(expected_looked_up_bytes(config, kRow), kGib) << "nothing is known";
  test::put_file(folder / "tokenizer.json", std::string(6000, ' '));
  EXPECT_EQ(expected_looked_up_bytes(config, kRow), 1000 * kRow / kFaultAroundBytes * kFaultAroundBytes + kFaultAroundBytes);
  config.max_steps = config.gradient_accumulation_steps = config.per_device_train_batch_size = 1;
  config.max_length = 8;
  EXPECT_EQ(expected_looked_up_bytes(config, kRow), 8 * kFaultAroundBytes);
}

TEST(BaseShape, IsReadFromHeadersAlone) {
  EXPECT_EQ(read_base_shape(test::golden_path("shapes/llama-33b")).model.num_hidden_layers, 60);
  EXPECT_FALSE(read_base_shape(test::golden_path("models/llama")).stored);
  const auto stored = read_base_shape(test::golden_path("bnb_checkpoint")).stored;
  ASSERT_TRUE(stored);
  EXPECT_TRUE(stored->double_quant);
}

struct Shipped {
  const char* config;
  const char* shape;
  int64_t card;
  bool streamed;
};

// Each configuration for a card fits that card with the real model's shape.
TEST(ShippedConfigs, FitTheirCards) {
  for (const Shipped& shipped : {Shipped{"7b_6gb", "llama-7b", 6, false}, Shipped{"8b_6gb", "llama-3.1-8b", 6, false},
                                 Shipped{"8b_8gb", "llama-3.1-8b", 8, false}, Shipped{"13b_12gb", "llama-13b", 12, false},
                                 Shipped{"14b_16gb", "qwen2.5-14b", 16, false}, Shipped{"33b_24gb", "llama-33b", 24, false},
                                 Shipped{"70b_24gb_streamed", "llama-3.1-70b", 24, true}}) {
    const auto loaded = schema::load_run_config(std::string(NIBBLE_SOURCE_DIR) + "/configs/" + shipped.config + ".yaml", {shape(shipped.shape)});
    const PlanReport report = plan_config(loaded.config, 0);
    EXPECT_TRUE(report.fits()) << shipped.config << "\n" << plan_text(report);
    EXPECT_EQ(report.plan.device, "cuda") << shipped.config;
    EXPECT_LE(report.plan.total_bytes(), shipped.card * kGib - kCardReserveBytes) << shipped.config;
    EXPECT_EQ(report.input.choices.streamed, shipped.streamed) << shipped.config;
    for (const CardVerdict& card : report.cards) {
      EXPECT_TRUE(card.run.fits || card.gib < shipped.card) << shipped.config;
    }
  }
}

}  // namespace
}  // namespace nibble::trainer
