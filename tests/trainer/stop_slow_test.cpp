// Units: trainer/stop_request trainer/deadline trainer/cmd_chat trainer/cmd_export trainer/cmd_eval trainer/cmd_generate trainer/cmd_preprocess trainer/prepare_data
// Signals and max_time, as a scheduler sends them, in every verb that takes time.
#include <gmock/gmock.h>

#include "tests/trainer/same_run.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::bytes_of;
using test::expect_same_run;
using test::Program;
using test::ProgramResult;
using test::put_file;
using test::RunWorkshop;
using test::wait_until;
using testing::AnyOf;
using testing::HasSubstr;

constexpr auto kAtOnce = std::chrono::seconds(10);  // generous: other programs want the cores too

// Names in a folder that are not there before or after a run that ended well.
std::vector<std::string> leftovers(const fs::path& folder) {
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.find("partial") != name.npos || name.ends_with(".records")) found.push_back(entry.path().string());
  }
  return found;
}

// Many rows of text, so that preparing them takes a while.
void put_much_data(const RunWorkshop& shop, int rows) {
  std::string text;
  for (int i = 0; i < rows; ++i) text += fmt::format("{{\"text\": \"{} {}\"}}\n", i, std::string(2000, static_cast<char>('a' + i % 26)));
  put_file(shop / "rows.jsonl", text);
}

class TrainingRun : public testing::Test {
 protected:
  bool has_steps(const std::string& run, int steps) const { return bytes_of(shop_ / run / "metrics.jsonl") > static_cast<uintmax_t>(150 * steps); }
  RunWorkshop shop_;
  const std::vector<std::string> endless_{"max_steps=1000000", "save_steps=0"};
};

TEST_F(TrainingRun, SavesAndEndsWith75AtEitherSignal) {
  for (const auto& [number, name] : {std::pair(SIGTERM, "SIGTERM"), {SIGINT, "SIGINT"}}) {
    Program program(shop_.path(), shop_.train_arguments(name, endless_));
    ASSERT_TRUE(wait_until(program, [&, run = name] { return has_steps(run, 3); }));
    program.send(number);
    const ProgramResult stopped = program.wait();
    ASSERT_EQ(stopped.exit_code, 75) << stopped.err;
    EXPECT_EQ(stopped.json().at("stopped_by"), name);
    EXPECT_THAT(stopped.err, HasSubstr(std::string(name) + ": saved checkpoint-"));
    const int step = stopped.json().at("global_step");
    EXPECT_EQ(shop_.nibble({"ckpt", "verify", shop_(fmt::format("{}/checkpoint-{}", name, step))}).exit_code, 0);
  }
}

TEST_F(TrainingRun, SavesAndGoesOnAtUsr1) {
  Program program(shop_.path(), shop_.train_arguments("run", endless_));
  ASSERT_TRUE(wait_until(program, [&] { return has_steps("run", 2); }));
  for (int saves = 1; saves <= 3; ++saves) {
    program.send(SIGUSR1);
    const auto count = [&] {
      return std::count_if(fs::directory_iterator(shop_ / "run"), {}, [](const auto& e) { return e.path().filename().string().starts_with("checkpoint-"); });
    };
    ASSERT_TRUE(wait_until(program, [&] { return count() >= saves; }));
    const auto rows = bytes_of(shop_ / "run/metrics.jsonl");  // what is saved at the same step again is no other checkpoint
    ASSERT_TRUE(wait_until(program, [&] { return bytes_of(shop_ / "run/metrics.jsonl") > rows; }));
  }
  EXPECT_TRUE(program.running());
  program.send(SIGTERM);
  EXPECT_EQ(program.wait().exit_code, 75);
  EXPECT_EQ(shop_.nibble({"ckpt", "verify", shop_("run")}).exit_code, 0);
}

// A checkpoint that was asked for in the middle of a step or an evaluation leads to the same bits.
TEST_F(TrainingRun, ResumesExactlyFromWhatUsr1Saved) {
  const std::vector<std::string> set{"max_steps=40", "save_steps=0", "save_total_limit=0", "gradient_accumulation_steps=8", "per_device_train_batch_size=1",
                                     "validation_split_ratio=0.3", "eval_strategy=steps", "eval_steps=2"};
  ASSERT_EQ(shop_.train("whole", set).exit_code, 0);
  Program program(shop_.path(), shop_.train_arguments("run", set));
  ASSERT_TRUE(wait_until(program, [&] { return has_steps("run", 1); }));
  while (program.running()) {
    program.send(SIGUSR1);
    ::usleep(3000);
  }
  ASSERT_EQ(program.wait().exit_code, 0);
  expect_same_run(shop_, "run", "whole", 40);
  int resumed = 0;
  for (int step = 1; step < 40 && resumed < 4; ++step) {
    if (!fs::exists(shop_ / fmt::format("run/checkpoint-{}", step))) continue;
    const std::string copy = fmt::format("copy-{}", step);
    fs::copy(shop_ / "run", shop_ / copy, fs::copy_options::recursive);
    ASSERT_EQ(shop_.nibble({"resume", shop_(copy), "--from", fmt::format("checkpoint-{}", step)}).exit_code, 0);
    expect_same_run(shop_, copy, "whole", 40);
    ++resumed;
  }
  EXPECT_GT(resumed, 0);
}

// The second signal comes while the process works on the first one: it is held there, wherever it is, until a fifth of a second is over.
TEST_F(TrainingRun, LeavesAtOnceAtASecondSignalAndKeepsWhatWasSaved) {
  ASSERT_EQ(shop_.train("run", {"max_steps=2", "save_steps=1"}).exit_code, 0);
  int at_once = 0;
  for (int i = 0; i < 6; ++i) {
    Program program(shop_.path(), {"resume", shop_("run"), "--set", "max_steps=1000000", "--set", "save_steps=2", "--set", "save_total_limit=2",
                                   "--allow-changed", "max_steps"});
    const auto before = bytes_of(shop_ / "run/metrics.jsonl");
    ASSERT_TRUE(wait_until(program, [&] { return bytes_of(shop_ / "run/metrics.jsonl") > before + 300; }));
    program.send(SIGTERM);
    ::usleep(static_cast<useconds_t>(i) * 1500);
    program.send(SIGSTOP);
    ::usleep(210'000);
    program.send(SIGTERM);
    program.send(SIGCONT);
    const ProgramResult ended = program.wait();
    EXPECT_EQ(ended.exit_code, 75) << ended.err;
    if (ended.err.find("leaving at once") != std::string::npos) ++at_once;
    const auto listed = shop_.nibble({"ckpt", "verify", shop_("run"), "--json"}).json();
    bool any_good = false;
    for (const auto& checkpoint : listed.at("checkpoints")) {
      any_good = any_good || checkpoint.at("state") == "good";
      const bool partial = checkpoint.at("path").get<std::string>().find(".partial") != std::string::npos;
      EXPECT_EQ(checkpoint.at("state"), partial ? "incomplete" : "good") << listed;
    }
    EXPECT_TRUE(any_good);
  }
  EXPECT_GT(at_once, 0);
}

TEST_F(TrainingRun, StopsWhilePreparingItsDataAndLeavesNothing) {
  put_much_data(shop_, 20000);
  Program program(shop_.path(), shop_.train_arguments("run", {"truncation=truncate", "dataset_prepared_path=" + shop_("prepared")}));
  ASSERT_TRUE(wait_until(program, [&] { return fs::exists(shop_ / "prepared") && !leftovers(shop_ / "prepared").empty(); }));
  program.send(SIGTERM);
  const auto sent = std::chrono::steady_clock::now();
  const ProgramResult stopped = program.wait();
  EXPECT_LT(std::chrono::steady_clock::now() - sent, kAtOnce);
  ASSERT_EQ(stopped.exit_code, 75) << stopped.err;
  EXPECT_EQ(stopped.error().at("error"), "Interrupted");
  EXPECT_THAT(stopped.error().at("message"), HasSubstr("SIGTERM while preparing the data: nothing was trained"));
  EXPECT_THAT(leftovers(shop_.path()), testing::IsEmpty());
  EXPECT_EQ(shop_.nibble({"train", shop_("run.yaml"), "--set", "output_dir=" + shop_("run"), "--set", "truncation=truncate", "--set", "max_steps=1"}).exit_code, 0);
}

TEST_F(TrainingRun, EndsBeforeMaxTimeIsOver) {
  const auto start = std::chrono::steady_clock::now();
  auto set = endless_;
  set.push_back("max_time=12s");
  const ProgramResult stopped = shop_.train("run", set);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ASSERT_EQ(stopped.exit_code, 75) << stopped.err;
  EXPECT_LT(seconds, 12.0);
  EXPECT_EQ(stopped.json().at("stopped_by"), "max_time");
  EXPECT_THAT(stopped.err, HasSubstr("max_time (12s) is over: saved checkpoint-"));
  const int64_t made = stopped.json().at("global_step");
  EXPECT_GT(made, 0);
  EXPECT_EQ(shop_.nibble({"ckpt", "verify", shop_("run")}).exit_code, 0);
  // And the next piece of it goes on.
  const ProgramResult next = shop_.nibble({"resume", shop_("run"), "--json"});
  ASSERT_EQ(next.exit_code, 75) << next.err;
  EXPECT_GT(next.json().at("global_step"), made);
}

TEST_F(TrainingRun, SaysWhereMaxTimeLeavesNoTimeForAStep) {
  put_much_data(shop_, 20000);
  const ProgramResult early = shop_.train("early", {"max_time=1s", "truncation=truncate"});
  ASSERT_EQ(early.exit_code, 75) << early.err;
  EXPECT_THAT(early.err, AnyOf(HasSubstr("max_time (1s) is over while"), HasSubstr("left no time for a step")));
}

// Every verb that reads a model or writes one.
class StoppedVerb : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(shop_.train("run", {"max_steps=1"}).exit_code, 0); }
  // Lets the verb run to its end once for its time, then stops it by SIGTERM at moments spread over that, until it was stopped four times at
  // its work. `reset` comes before each run, `check` after each that was stopped.
  void stop_at_moments(const std::vector<std::string>& arguments, const std::function<void()>& reset, const std::function<void(const ProgramResult&)>& check) {
    reset();
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(shop_.nibble(arguments).exit_code, 0);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    int stops = 0;
    for (int i = 0; i < 60 && stops < 4; ++i) {
      reset();
      Program program(shop_.path(), arguments);
      ::usleep(static_cast<useconds_t>(1e6 * seconds * (1 + i * 7 % 20) / 20));
      program.send(SIGTERM);
      const ProgramResult ended = program.wait();
      if (ended.exit_code == 128 + SIGTERM || ended.exit_code == 0) continue;  // the libraries were still being loaded; it was through
      ASSERT_EQ(ended.exit_code, 75) << ended.err;
      ++stops;
      check(ended);
    }
    EXPECT_GT(stops, 0) << "no signal came while it worked";
  }
  static void nothing() {}
  RunWorkshop shop_;
};

TEST_F(StoppedVerb, ExportLeavesAWholeFolderOrNone) {
  for (const std::string format : {"adapter", "merged"}) {
    const std::string out = shop_("out-" + format);
    const fs::path half = shop_ / (".out-" + format + ".partial");
    int stops = 0;
    // The work is a few milliseconds of a process that takes a hundred: it is there while its folder is.
    for (int i = 0; i < 50 && stops < 4; ++i) {
      fs::remove_all(out);
      Program program(shop_.path(), {"export", shop_("run"), out, "--format", format, "--json"});
      while (program.running() && !fs::exists(half)) ::usleep(50);
      program.send(SIGTERM);
      const ProgramResult ended = program.wait();
      EXPECT_THAT(leftovers(shop_.path()), testing::IsEmpty());
      if (ended.exit_code == 0) {
        EXPECT_TRUE(fs::exists(out));
        continue;
      }
      ASSERT_EQ(ended.exit_code, 75) << ended.err;
      EXPECT_EQ(ended.error().at("error"), "Interrupted");
      EXPECT_FALSE(fs::exists(out));
      ++stops;
    }
    EXPECT_GT(stops, 0) << "no signal came while it worked: " << format;
  }
}

TEST_F(StoppedVerb, ExportThatIsVerifiedIsCompleteWhenItIsStoppedThere) {
  const std::string out = shop_("out");
  stop_at_moments({"export", shop_("run"), out, "--format", "merged", "--verify", "--json"}, [&] { fs::remove_all(out); }, [&](const ProgramResult& stopped) {
    const bool verifying = stopped.err.find("is complete") != std::string::npos;
    EXPECT_EQ(fs::exists(out), verifying) << stopped.err;
    if (!verifying) return;
    EXPECT_EQ(shop_.nibble({"eval", out, "--text", shop_("rows.jsonl"), "--set", "max_length=64"}).exit_code, 0);
  });
}

TEST_F(StoppedVerb, EvalSaysWhereItWas) {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += "some words ";
  put_file(shop_ / "text.txt", text);
  stop_at_moments({"eval", shop_("run"), "--text", shop_("text.txt"), "--set", "max_length=16", "--json"}, nothing, [&](const ProgramResult& stopped) {
    EXPECT_THAT(stopped.error().at("message"), HasSubstr("SIGTERM while evaluating"));
  });
}

TEST_F(StoppedVerb, GenerateEndsItsText) {
  stop_at_moments({"generate", shop_("run"), "--prompt", "abc", "--max-new-tokens", "120", "--ignore-eos", "--json"}, nothing, [&](const ProgramResult& stopped) {
    EXPECT_THAT(stopped.error().at("message"), HasSubstr("SIGTERM while "));
    if (stopped.out.empty()) return;  // the model was still being loaded
    EXPECT_EQ(stopped.json().at("interrupted"), true);
    EXPECT_LT(stopped.json().at("ids").size(), 120u);
  });
}

TEST_F(StoppedVerb, ChatEndsWhileItWaitsForALine) {
  ASSERT_EQ(::mkfifo((shop_ / "stdin.txt").c_str(), 0600), 0);
  const int writer = ::open((shop_ / "stdin.txt").c_str(), O_RDWR);  // open on both sides: its end never comes
  ASSERT_EQ(::write(writer, "abc\n", 4), 4);
  fs::remove(shop_ / "stdout.txt");  // of the run before
  Program program(shop_.path(), {"chat", shop_("run"), "--max-new-tokens", "4", "--ignore-eos", "--set", "chat_template_path=llama2"});
  ASSERT_TRUE(wait_until(program, [&] { return bytes_of(shop_ / "stdout.txt") > 0 && test::file_bytes(shop_ / "stdout.txt").ends_with('\n'); }))
      << program.wait().err;
  program.send(SIGINT);
  const ProgramResult ended = program.wait();
  ::close(writer);
  EXPECT_EQ(ended.exit_code, 75) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("SIGINT while talking"));
}

TEST_F(StoppedVerb, PreprocessKeepsNothingHalf) {
  put_much_data(shop_, 5000);
  stop_at_moments({"preprocess", shop_("run.yaml"), "--set", "truncation=truncate", "--set", "dataset_prepared_path=" + shop_("prepared"), "--json"},
                  [&] { fs::remove_all(shop_ / "prepared"); }, [&](const ProgramResult& stopped) {
                    EXPECT_THAT(stopped.error().at("message"), HasSubstr("nothing was kept"));
                    EXPECT_THAT(leftovers(shop_.path()), testing::IsEmpty());
                  });
}

}  // namespace
}  // namespace nibble::trainer
