// Units: trainer/cmd_train trainer/cmd_resume trainer/resume trainer/train_loop trainer/stop_request trainer/run_inputs
// A run that was stopped, killed or set back continues to the same bits as one that was not (policy (f): bitwise).
#include <gmock/gmock.h>

#include "tests/trainer/same_run.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::expect_same_run;
using test::RunWorkshop;
using test::wait_until;
using testing::HasSubstr;

class ResumeInDtype : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, ResumeInDtype, testing::Values("float32", "bfloat16"));

TEST_P(ResumeInDtype, ContinuesToTheSameBitsFromTheNewestAndFromAChosenCheckpoint) {
  const RunWorkshop shop;
  const std::string dtype = fmt::format("bnb_4bit_compute_dtype={}", GetParam());
  const auto whole = shop.train("whole", {dtype});
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  EXPECT_EQ(whole.json().at("global_step"), 8);
  EXPECT_EQ(whole.json().at("interrupted"), false);

  fs::copy(shop / "whole", shop / "half", fs::copy_options::recursive);
  fs::remove_all(shop / "half/checkpoint-8");
  const auto resumed = shop.nibble({"resume", shop("half"), "--json"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("at step 4 of 8"));
  expect_same_run(shop, "half", "whole", 8);

  fs::copy(shop / "whole", shop / "chosen", fs::copy_options::recursive);
  const auto chosen = shop.nibble({"resume", shop("chosen"), "--from", "checkpoint-4"});
  ASSERT_EQ(chosen.exit_code, 0) << chosen.err;
  EXPECT_THAT(chosen.err, HasSubstr("at step 4 of 8"));
  expect_same_run(shop, "chosen", "whole", 8);
}

TEST(StoppedRun, EndsWith75AndContinuesToTheSameBits) {
  const RunWorkshop shop;
  const std::vector<std::string> set{"max_steps=60", "save_steps=0"};
  ASSERT_EQ(shop.train("whole", set).exit_code, 0);
  test::Program program(shop.path(), shop.train_arguments("stopped", set));
  ASSERT_TRUE(wait_until(program, [&] { return fs::exists(shop / "stopped/metrics.jsonl") && fs::file_size(shop / "stopped/metrics.jsonl") > 500; }));
  program.send(SIGTERM);
  const auto stopped = program.wait();
  ASSERT_EQ(stopped.exit_code, 75) << stopped.err;
  EXPECT_EQ(stopped.json().at("interrupted"), true);
  EXPECT_LT(stopped.json().at("global_step"), 60);
  EXPECT_THAT(stopped.err, HasSubstr("SIGTERM: saved checkpoint-"));
  const auto resumed = shop.nibble({"resume", shop("stopped")});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  expect_same_run(shop, "stopped", "whole", 60);
}

TEST(KilledRun, ContinuesToTheSameBits) {
  const RunWorkshop shop;
  const std::vector<std::string> set{"max_steps=60", "save_steps=7"};
  ASSERT_EQ(shop.train("whole", set).exit_code, 0);
  auto again = shop.train_arguments("killed", set);
  again.push_back("--resume");
  // Each kill comes later than the one before, so that the run gets on; where it falls within a step is chance.
  for (uintmax_t bytes : {uintmax_t{0}, uintmax_t{2000}, uintmax_t{5000}}) {
    test::Program program(shop.path(), again);
    wait_until(program, [&] { return fs::exists(shop / "killed/metrics.jsonl") && fs::file_size(shop / "killed/metrics.jsonl") >= bytes; });
    program.send(SIGKILL);
    EXPECT_EQ(program.wait().exit_code, 128 + SIGKILL);
  }
  const auto last = shop.nibble(again);
  ASSERT_EQ(last.exit_code, 0) << last.err;
  expect_same_run(shop, "killed", "whole", 60);
}

TEST(DamagedCheckpoint, IsSkippedForAnOlderOneAndSaid) {
  const RunWorkshop shop;
  ASSERT_EQ(shop.train("whole").exit_code, 0);
  fs::copy(shop / "whole", shop / "damaged", fs::copy_options::recursive);
  const fs::path adapter = shop / "damaged/checkpoint-8/adapter_model.safetensors";
  std::string bytes = test::file_bytes(adapter);
  bytes[bytes.size() - 5] ^= 1;
  test::put_file(adapter, bytes);
  EXPECT_EQ(shop.nibble({"ckpt", "verify", shop("damaged")}).exit_code, 5);
  const std::vector<std::string> resume{"resume", shop("damaged")};
  const auto resumed = shop.nibble(resume);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("checkpoint-8: skipped"));
  expect_same_run(shop, "damaged", "whole", 8);

  test::put_file(adapter, bytes);
  auto chosen = resume;
  chosen.insert(chosen.end(), {"--from", "checkpoint-8", "--json"});
  const auto refused = shop.nibble(chosen);
  EXPECT_EQ(refused.exit_code, 5);
  EXPECT_THAT(refused.error().at("message"), HasSubstr("cannot continue from it"));
}

TEST(ChangedRun, IsRefusedWithBothValues) {
  const RunWorkshop shop;
  ASSERT_EQ(shop.train("run").exit_code, 0);
  const auto refused = shop.nibble({"resume", shop("run"), "--json", "--set", "lora_dropout=0.2"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.error().at("message"), HasSubstr("lora_dropout: 0.1 in the checkpoint, 0.2 now"));
}

}  // namespace
}  // namespace nibble::trainer
