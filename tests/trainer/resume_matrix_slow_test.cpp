// Units: trainer/kill_point trainer/run_start trainer/train_loop
// Killed and resumed runs end at the bits of uninterrupted ones, whatever the configuration (policy (f): bitwise).
#include <gmock/gmock.h>

#include "tests/support/gguf_writer.h"
#include "tests/trainer/same_run.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::expect_same_run;
using test::expect_same_tensors;
using test::RunWorkshop;

constexpr int kKilled = 128 + SIGKILL;

struct Case {
  std::string name;
  std::vector<std::string> set;
  int last = 7;                                   // the run's last step
  int save_steps = 3, kill_after = 3;
  std::vector<std::string> length = {"max_steps=7"};
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// The base configuration has packing, dropout 0.1, two rows a micro-batch, two micro-batches a step and 40 rows.
std::vector<Case> cases() {
  std::vector<Case> all{
      {"accumulation_1", {"gradient_accumulation_steps=1"}},
      {"accumulation_4", {"gradient_accumulation_steps=4", "per_device_train_batch_size=1"}},
      {"no_packing", {"packing=false"}},
      {"best_fit", {"packing_strategy=bfd"}},
      {"group_by_length", {"packing=false", "group_by_length=true"}},
      {"no_shuffle", {"shuffle=false"}},
      {"no_dropout", {"lora_dropout=0"}},
      {"much_dropout", {"lora_dropout=0.5"}},
      {"bfloat16", {"bnb_4bit_compute_dtype=bfloat16"}},
      {"dense_base", {"load_in_4bit=false"}},
      {"head_in_4_bits", {"lm_head_load_in_4bit=true"}},
      {"some_modules_rslora", {"lora_target_modules=[q_proj, v_proj]", "use_rslora=true"}},
      {"weight_decay_no_clipping", {"weight_decay=0.1", "max_grad_norm=0"}},
      {"warmup_steps", {"warmup_steps=4", "lr_scheduler_type=constant_with_warmup"}},
      {"streamed", {"base_residency=streamed"}},
      {"packed_cache", {"packed_cache=true"}},
      {"no_data_cache", {"dataset_cache=false"}},
      {"chunks", {"loss_chunk_tokens=16", "mlp_chunk_tokens=16"}},
      {"parallel_passes", {"parallel_passes=2"}},
      {"worst_step_first", {"worst_step_first=true"}},
      {"file_weights", {"train_file_weights=[1.5]"}},
      {"evaluation_by_steps", {"validation_split_ratio=0.2", "eval_strategy=steps", "eval_steps=2"}},
      {"evaluation_by_epoch", {"validation_split_ratio=0.2", "eval_strategy=epoch", "gradient_accumulation_steps=4"}},
      {"rows_of_three_steps", {"logging_steps=3"}, 7, 2, 4},
      // 40 rows, two a micro-batch, 8 micro-batches a step: three steps an epoch, the last of them smaller.
      {"epochs", {"packing=false", "gradient_accumulation_steps=8"}, 9, 4, 4, {"max_steps=-1", "num_train_epochs=3"}},
      {"epochs_and_a_half", {"packing=false", "gradient_accumulation_steps=8"}, 8, 2, 4, {"max_steps=-1", "num_train_epochs=2.5"}},
      {"saved_in_the_background", {"save_in_background=true"}},
      {"saved_in_the_foreground", {"save_in_background=false"}},
  };
  for (const char* optim : {"adamw_torch", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "lion_32bit", "lion_8bit", "paged_lion_32bit", "paged_lion_8bit"}) {
    Case c{std::string("optim_") + optim, {std::string("optim=") + optim}};
    // More state than is resident: 4 MiB in 32 bits, a layer at a time.
    if (c.name.find("paged") != c.name.npos) c.set.insert(c.set.end(), {"paged_budget_mib=2", "lora_r=64"});
    all.push_back(c);
  }
  for (const char* schedule : {"linear", "cosine", "constant", "constant_with_warmup"}) {
    all.push_back({std::string("schedule_") + schedule, {std::string("lr_scheduler_type=") + schedule, "warmup_ratio=0.5"}});
  }
  for (const char* recompute : {"none", "elementwise", "mlp", "layer", "offload"}) {
    all.push_back({std::string("recompute_") + recompute, {std::string("recompute=") + recompute}});
  }
  return all;
}

class ResumeMatrix : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases, ResumeMatrix, testing::ValuesIn(cases()), [](const auto& info) { return info.param.name; });

TEST_P(ResumeMatrix, AKilledRunEndsAtTheSameBits) {
  const RunWorkshop shop;
  const Case& c = GetParam();
  std::vector<std::string> set = c.set;
  set.insert(set.end(), c.length.begin(), c.length.end());
  set.push_back(fmt::format("save_steps={}", c.save_steps));
  const auto whole = shop.train("whole", set);
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  auto arguments = shop.train_arguments("killed", set);
  arguments.insert(arguments.end(), {"--resume", "--kill-after-checkpoint", fmt::format("{}", c.kill_after)});
  const auto killed = shop.nibble(arguments);
  ASSERT_EQ(killed.exit_code, kKilled) << killed.err;
  EXPECT_FALSE(fs::exists(shop / fmt::format("killed/checkpoint-{}", c.last)));
  arguments.resize(arguments.size() - 2);
  const auto resumed = shop.nibble(arguments);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, testing::HasSubstr("resuming "));
  expect_same_run(shop, "killed", "whole", c.last);
}

TEST(ResumeOfAGgufBase, EndsAtTheSameBits) {
  const RunWorkshop shop;
  test::TinyGguf shape;
  shape.hidden = 64;
  shape.intermediate = 128;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.layers = 2;
  test::tiny_gguf(shape).write(shop / "model.gguf");
  std::string rows;
  for (int i = 0; i < 30; ++i) rows += fmt::format("{{\"input_ids\": [{}, {}, {}, {}, {}]}}\n", i % 12, i * 5 % 12, i * 7 % 12, (i + 3) % 12, i * i % 12);
  test::put_file(shop / "rows.jsonl", rows);
  const std::vector<std::string> set{"model_name_or_path=" + shop("model.gguf"), "save_steps=3", "max_steps=7"};
  const auto whole = shop.train("whole", set);
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  auto arguments = shop.train_arguments("killed", set);
  arguments.insert(arguments.end(), {"--resume", "--kill-after-checkpoint", "3"});
  ASSERT_EQ(shop.nibble(arguments).exit_code, kKilled);
  arguments.resize(arguments.size() - 2);
  const auto resumed = shop.nibble(arguments);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  expect_same_run(shop, "killed", "whole", 7);
}

// How often is logged, saved and evaluated is the process's own affair.
TEST(ResumeWithOtherIntervals, EndsAtTheSameBits) {
  const RunWorkshop shop;
  const std::vector<std::string> base{"validation_split_ratio=0.2"};
  ASSERT_EQ(shop.train("whole", base).exit_code, 0);
  const std::vector<std::vector<std::string>> changes{
      {"logging_steps=3"}, {"save_steps=1"}, {"save_steps=0"}, {"save_total_limit=1", "save_steps=1"}, {"eval_strategy=steps", "eval_steps=1"},
      {"eval_strategy=epoch"}, {"max_memory=2GiB"}, {"recompute=layer"}, {"per_device_eval_batch_size=3"}, {"packed_cache=true"}};
  for (const auto& change : changes) {
    const std::string run = "changed";
    fs::remove_all(shop / run);
    auto first = shop.train_arguments(run, base);
    first.insert(first.end(), {"--kill-after-checkpoint", "4"});
    ASSERT_EQ(shop.nibble(first).exit_code, kKilled);
    auto again = base;
    again.insert(again.end(), change.begin(), change.end());
    auto second = shop.train_arguments(run, again);
    second.push_back("--resume");
    const auto resumed = shop.nibble(second);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    for (const std::string& key : change) {
      const std::string name = key.substr(0, key.find('='));
      EXPECT_THAT(resumed.err, testing::HasSubstr(name + " is ")) << key << " is told";
    }
    expect_same_tensors(shop, run, "whole", 8);
  }
}

TEST(ResumeOfAResume, EndsAtTheSameBits) {
  const RunWorkshop shop;
  const std::vector<std::string> set{"save_steps=2", "max_steps=9", "logging_steps=2", "validation_split_ratio=0.2", "eval_strategy=steps", "eval_steps=3"};
  ASSERT_EQ(shop.train("whole", set).exit_code, 0);
  auto arguments = shop.train_arguments("again", set);
  arguments.push_back("--resume");
  for (const char* step : {"2", "4", "6", "8"}) {
    auto killed = arguments;
    killed.insert(killed.end(), {"--kill-after-checkpoint", step});
    ASSERT_EQ(shop.nibble(killed).exit_code, kKilled) << step;
  }
  ASSERT_EQ(shop.nibble(arguments).exit_code, 0);
  expect_same_run(shop, "again", "whole", 9);
}

// Stopped again and again at moments that chance decides, most of them in the middle of an accumulation.
TEST(StopsInAnAccumulation, EndAtTheSameBits) {
  const RunWorkshop shop;
  const std::vector<std::string> set{"max_steps=12", "save_steps=0", "per_device_train_batch_size=1", "gradient_accumulation_steps=64", "packing=false",
                                     "validation_split_ratio=0.3", "eval_strategy=steps", "eval_steps=4"};
  ASSERT_EQ(shop.train("whole", set).exit_code, 0);
  auto arguments = shop.train_arguments("stopped", set);
  arguments.push_back("--resume");
  int stops = 0;
  for (int i = 0; i < 60; ++i) {
    test::Program program(shop.path(), arguments);
    // Every third one is stopped wherever it is on its way to its first step; the others get on by a step at least.
    const fs::path grows = shop / (i % 3 == 2 ? "stopped/log.txt" : "stopped/metrics.jsonl");
    const auto before = test::bytes_of(grows);
    wait_until(program, [&] { return test::bytes_of(grows) > before; });
    std::this_thread::sleep_for(std::chrono::milliseconds(i * 37 % 90));
    program.send(i % 2 == 0 ? SIGTERM : SIGINT);
    const auto ended = program.wait();
    if (ended.exit_code == 0) break;
    ASSERT_EQ(ended.exit_code, 75) << ended.err;
    ++stops;
  }
  EXPECT_GE(stops, 3);
  expect_same_run(shop, "stopped", "whole", 12);
}

}  // namespace
}  // namespace nibble::trainer
