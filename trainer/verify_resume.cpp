#include "trainer/verify_resume.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

#include "core/error.h"
#include "core/file.h"
#include "io/checkpoint.h"
#include "trainer/child_run.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;

constexpr int kKilled = 128 + SIGKILL;

// The words of one run. Only what decides how long it is and where it writes is set beside the user's own.
std::vector<std::string> words_of(const VerifyOptions& options, const fs::path& run, int64_t save_steps) {
  std::vector<std::string> words{"train", options.config, "--json"};
  std::vector<std::string> set = options.set;
  set.insert(set.end(), {"output_dir=" + run.string(), fmt::format("max_steps={}", options.steps), fmt::format("save_steps={}", save_steps),
                         "save_total_limit=0", "resume_from_checkpoint=false", "max_time=none"});
  for (const std::string& one : set) words.insert(words.end(), {"--set", one});
  return words;
}

// Runs it to its end. `expected`: its exit code. false: it was another one, which is in `result` now.
bool run_child(const std::vector<std::string>& words, const std::string& name, int expected, const fs::path& folder, const StopRequest& stop,
               VerifyResult& result) {
  const fs::path said = folder / (name + ".stderr.txt");
  ChildRun child(words, folder / (name + ".stdout.txt"), said);
  while (child.running()) {
    stop.check("proving that runs resume exactly; nothing was changed");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (child.exit_code() == expected) return true;
  result.failed_with = child.exit_code() == 0 ? static_cast<int>(ExitCode::kRunFailed) : child.exit_code();
  result.failed_run = name;
  result.said = read_text(said);
  return false;
}

}  // namespace

VerifyResult verify_resume(const VerifyOptions& options, const StopRequest& stop, const std::function<void(const std::string&)>& say) {
  VerifyResult result;
  const int64_t half = result.saved_step = options.steps / 2;
  const fs::path whole = options.folder / "whole", resumed = options.folder / "resumed";
  say(fmt::format("1 of 3: {} steps in one go", options.steps));
  if (!run_child(words_of(options, whole, half), "whole", 0, options.folder, stop, result)) return result;

  say(fmt::format("2 of 3: the same again, killed by SIGKILL after {}", io::checkpoint_name(half)));
  std::vector<std::string> words = words_of(options, resumed, half);
  words.insert(words.end(), {"--kill-after-checkpoint", fmt::format("{}", half)});
  if (!run_child(words, "killed", kKilled, options.folder, stop, result)) return result;

  say(fmt::format("3 of 3: resumed from {}", io::checkpoint_name(half)));
  words = words_of(options, resumed, half);
  words.push_back("--resume");
  if (!run_child(words, "resumed", 0, options.folder, stop, result)) return result;
  result.comparison = compare_runs(whole, resumed, options.steps);
  return result;
}

fs::path make_verify_folder(const fs::path& output_dir) {
  const auto make = [&](const fs::path& parent) -> fs::path {
    std::string name = (parent / fmt::format(".{}.verify-resume-XXXXXX", output_dir.filename().string())).string();
    return ::mkdtemp(name.data()) == nullptr ? fs::path() : fs::path(name);
  };
  std::error_code ignored;
  fs::path parent = fs::absolute(output_dir, ignored).lexically_normal().parent_path();
  while (!parent.empty() && !fs::is_directory(parent, ignored) && parent != parent.parent_path()) parent = parent.parent_path();
  if (const fs::path made = make(parent); !made.empty()) return made;
  const fs::path other = fs::temp_directory_path(ignored);
  if (const fs::path made = make(other); !made.empty()) return made;
  throw IoError("cannot make a folder for the runs; set TMPDIR to one that you may write to", other.string(), errno);
}

}  // namespace nibble::trainer
