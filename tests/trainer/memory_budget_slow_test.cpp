// Units: trainer/plan_search, trainer/memory_plan, trainer/load_base
// max_memory from the command line: the run chooses what fits, says and keeps it, stays within it, and its numbers are those of
// the run that had memory for everything.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/random_model.h"
#include "tests/trainer/run_binary.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using test::RunWorkshop;
using testing::HasSubstr;
using testing::Not;

constexpr int64_t kMib = int64_t{1} << 20;
// Between the plan and what the kernel counts.
constexpr double kTolerance = 1.05;

class MemoryBudget : public testing::Test {
 protected:
  MemoryBudget() {
    test::write_random_model(shop_ / "model", {.vocab = 96});  // of the tokenizer
    std::string rows;
    for (int r = 0; r < 8; ++r) {
      std::string ids;
      for (int t = 0; t < 320; ++t) ids += fmt::format("{}{}", t == 0 ? "" : ", ", 3 + (r * 31 + t * t * 7) % 90);
      rows += fmt::format("{{\"input_ids\": [{}]}}\n", ids);
    }
    test::put_file(shop_ / "rows.jsonl", rows);
    test::put_file(shop_ / "run.yaml",
                   "model_name_or_path: model\ntrain_file: rows.jsonl\noutput_dir: run\nmax_length: 320\nlora_r: 8\nlora_dropout: 0.1\nlearning_rate: 1e-3\n"
                   "max_steps: 4\nper_device_train_batch_size: 1\nsave_steps: 0\nlogging_steps: 1\nshuffle: false\nvalidation_split_ratio: 0.25\n"
                   "eval_strategy: steps\neval_steps: 2\nloss_chunk_tokens: 128\n");
  }
  std::vector<std::string> with(std::vector<std::string> set) const {
    set.push_back("packed_cache_dir=" + shop_("cache"));
    return set;
  }
  // What a run of these keys would take, and its choices, as --dry-run says.
  nlohmann::json plan(const std::vector<std::string>& set) const {
    auto words = shop_.train_arguments("planned", with(set));
    words.push_back("--dry-run");
    const auto result = shop_.nibble(words);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.json();
  }
  int64_t planned_bytes(const std::vector<std::string>& set) const { return plan(set).at("total_bytes").at("cpu"); }

  // Losses, gradient norms and evaluation losses as written.
  std::vector<std::string> curve(const std::string& run) const {
    std::vector<std::string> rows;
    std::istringstream lines(file_bytes(shop_ / run / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const auto row = nlohmann::json::parse(line);
      rows.push_back(row.at("loss").dump() + " " + row.at("grad_norm").dump() + " " + row.value("eval_loss", nlohmann::json()).dump());
    }
    return rows;
  }
  std::string adapter(const std::string& run) const { return file_bytes(shop_ / run / "checkpoint-4/adapter_model.safetensors"); }
  nlohmann::json stored_choices(const std::string& run) const {
    const auto state = nlohmann::json::parse(file_bytes(shop_ / run / "checkpoint-4/trainer_state.json"));
    const auto& choices = state.at("memory_choices");
    return choices.is_string() ? nlohmann::json::parse(choices.get<std::string>()) : choices;
  }

  // Trains within so many bytes and expects the numbers of `free`. Returns what the run said.
  std::string expect_same_within(const std::string& run, int64_t bytes) const {
    const auto result = shop_.train(run, with({fmt::format("max_memory={}B", bytes)}));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    if (result.exit_code != 0) return result.err;
    EXPECT_EQ(curve(run), curve("free")) << run;
    EXPECT_TRUE(adapter(run) == adapter("free")) << run;
    const auto json = result.json();
    EXPECT_LE(json.at("plan_bytes").get<int64_t>(), bytes);
    EXPECT_LE(json.at("peak_rss_mib").get<double>() * kMib, kTolerance * static_cast<double>(bytes)) << result.err;
    EXPECT_THAT(result.err, HasSubstr("(max_memory)"));
    EXPECT_THAT(result.err, HasSubstr("memory: the fastest choices would take"));
    return result.err;
  }

  RunWorkshop shop_;
};

TEST_F(MemoryBudget, ForcesChoicesThatChangeNoNumber) {
  const auto free = shop_.train("free", with({}));
  ASSERT_EQ(free.exit_code, 0) << free.err;
  EXPECT_EQ(stored_choices("free").at("recompute"), nlohmann::json({{"elementwise", 12}}));
  ASSERT_EQ(curve("free").size(), 4u);

  const int64_t fastest = planned_bytes({}), rebuilt = planned_bytes({"recompute=layer", "base_residency=resident"}),
                streamed = planned_bytes({"recompute=layer", "base_residency=streamed"});
  ASSERT_GT(fastest, rebuilt + 20 * kMib);
  ASSERT_GT(rebuilt, streamed + 10 * kMib);

  // Room for a part of what could be kept: some layers rebuild.
  const std::string some = expect_same_within("some", (fastest + rebuilt) / 2);
  const auto mixed = stored_choices("some");
  EXPECT_EQ(mixed.at("base_residency"), "resident");
  EXPECT_NE(mixed.at("recompute"), nlohmann::json({{"elementwise", 12}}));
  EXPECT_THAT(some, HasSubstr(" layers, "));

  // Not even room for the whole base.
  const std::string little = expect_same_within("little", streamed + (rebuilt - streamed) / 3);
  EXPECT_EQ(stored_choices("little").at("base_residency"), "streamed");
  EXPECT_THAT(little, HasSubstr("base streamed layer by layer"));

  // Less than the least: refused before anything is loaded, and what is missing is said.
  const auto refused = shop_.train("refused", with({fmt::format("max_memory={}B", streamed - 20 * kMib)}));
  EXPECT_EQ(refused.exit_code, 4) << refused.err;
  EXPECT_EQ(refused.error().at("error"), "OutOfMemoryError");
  EXPECT_THAT(refused.error().at("message"), HasSubstr("does not fit: max_memory has"));
  EXPECT_FALSE(fs::exists(shop_ / "refused"));
}

// Fixed keys are the user's: what they leave no way to fit is refused, not overridden.
TEST_F(MemoryBudget, DoesNotTouchWhatTheConfigurationFixes) {
  const int64_t rebuilt = planned_bytes({"recompute=layer", "base_residency=resident"});
  const auto refused = shop_.train("refused", with({fmt::format("max_memory={}B", rebuilt), "recompute=none", "base_residency=resident"}));
  EXPECT_EQ(refused.exit_code, 4) << refused.err;
  const auto json = plan({fmt::format("max_memory={}B", 4 * rebuilt), "recompute=mlp", "loss_chunk_tokens=32"});
  EXPECT_EQ(json.at("choices").at("recompute"), "mlp");
  EXPECT_EQ(json.at("choices").at("loss_chunk_tokens"), 32);
}

// eval and generate choose as training does: a base that does not fit comes layer by layer, to the same numbers.
TEST_F(MemoryBudget, HoldsForEvalAndGenerate) {
  ASSERT_EQ(shop_.train("free", with({})).exit_code, 0);
  test::put_file(shop_ / "text.txt", "It was the best of times, it was the worst of times, it was the age of wisdom.");
  const auto ask = [&](std::vector<std::string> words, std::vector<std::string> set) {
    for (const std::string& s : with(std::move(set))) words.insert(words.end(), {"--set", s});
    words.push_back("--json");
    return shop_.nibble(words);
  };
  const std::vector<std::string> eval{"eval", shop_("free"), "--text", shop_("text.txt")}, generate{"generate", shop_("free"), "--prompt", "It was", "--max-new-tokens", "5"};
  const auto score = ask(eval, {}), text = ask(generate, {});
  ASSERT_EQ(score.exit_code, 0) << score.err;
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(score.err, Not(HasSubstr("streamed")));
  // The least of a training run is more than eval needs with a streamed base, and its process alone is less.
  const int64_t least = planned_bytes({"recompute=layer", "base_residency=streamed"});
  int64_t none = 0;
  for (int64_t bytes = least; bytes > least / 2 && none == 0; bytes -= 8 * kMib) {
    const auto within = ask(eval, {fmt::format("max_memory={}B", bytes)});
    if (within.exit_code == 4) {
      none = bytes;
      EXPECT_THAT(within.error().at("message"), HasSubstr("does not fit: max_memory has"));
    } else if (within.err.find("the base is streamed") != std::string::npos) {
      ASSERT_EQ(within.exit_code, 0) << within.err;
      EXPECT_EQ(within.json().at("nll"), score.json().at("nll"));
      const auto streamed_text = ask(generate, {fmt::format("max_memory={}B", bytes)});
      ASSERT_EQ(streamed_text.exit_code, 0) << streamed_text.err;
      EXPECT_EQ(streamed_text.json().at("ids"), text.json().at("ids"));
      return;
    }
  }
  FAIL() << "no amount of memory between enough and too little (" << none << ") had the base streamed";
}

}  // namespace
}  // namespace nibble::trainer
