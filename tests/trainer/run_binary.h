// Runs the binary as a user does, on a tiny Llama folder with a tokenizer of single bytes and rows that are ids already.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/golden_path.h"
#include "tests/support/temporary_folder.h"

namespace nibble::test {

struct ProgramResult {
  int exit_code = -1;  // 128 + the signal's number where one ended it
  std::string out, err;

  nlohmann::json json() const { return nlohmann::json::parse(out); }
  // The object of stderr's last line, which --json promises for an error.
  nlohmann::json error() const {
    std::istringstream lines(err);
    std::string line, last;
    while (std::getline(lines, line)) last = line;
    return nlohmann::json::parse(last);
  }
};

// One run of nibble in the background, which reads stdin.txt in the folder where that is there. largest_file: RLIMIT_FSIZE, with which a write past it fails as on a full disk;
// address_space: RLIMIT_AS, with which an allocation past it fails as where memory is at its end. environment: variables beside the
// test's own.
class Program {
 public:
  Program(const std::filesystem::path& folder, const std::vector<std::string>& arguments, rlim_t largest_file = RLIM_INFINITY,
          rlim_t address_space = RLIM_INFINITY, const std::vector<std::pair<std::string, std::string>>& environment = {})
      : out_(folder / "stdout.txt"), err_(folder / "stderr.txt") {
    std::vector<std::string> words{NIBBLE_BINARY};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    const int input = ::open((folder / "stdin.txt").c_str(), O_RDONLY);
    ::dup2(input >= 0 ? input : ::open("/dev/null", O_RDONLY), STDIN_FILENO);
    ::dup2(::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
    ::dup2(::open(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
    if (largest_file != RLIM_INFINITY) {
      const rlimit limit{largest_file, largest_file};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      ::signal(SIGXFSZ, SIG_IGN);
    }
    if (address_space != RLIM_INFINITY) {
      const rlimit limit{address_space, address_space};
      ::setrlimit(RLIMIT_AS, &limit);
    }
    // One thread: on a machine with other work, steps of a model this small took up to seconds with two and milliseconds
    // with one.
    ::setenv("OMP_NUM_THREADS", "1", 1);
    ::setenv("XDG_CACHE_HOME", (folder / "user_cache").c_str(), 1);  // nothing of a test in the user's own
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  Program(const Program&) = delete;
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  // Nothing where it has ended: kill(-1) would be everybody.
  void send(int signal) const {
    if (pid_ > 0) ::kill(pid_, signal);
  }
  // From now on nothing more can be mapped.
  void take_address_space() const {
    const rlimit none{0, 0};
    ::prlimit(pid_, RLIMIT_AS, &none, nullptr);
  }
  bool running() {
    if (pid_ <= 0) return false;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return true;
    ended(status);
    return false;
  }
  ProgramResult wait() {
    if (pid_ > 0) {
      int status = 0;
      ::waitpid(pid_, &status, 0);
      ended(status);
    }
    return {exit_code_, file_bytes(out_), file_bytes(err_)};
  }

 private:
  void ended(int status) {
    pid_ = -1;
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::filesystem::path out_, err_;
  pid_t pid_ = -1;
  int exit_code_ = -1;
};

// A folder with model/, rows.jsonl and run.yaml, whose output_dir is run/.
class RunWorkshop {
 public:
  RunWorkshop() {
    put_model("llama");
    std::string rows;
    for (int i = 0; i < 40; ++i) rows += row(i) + "\n";
    put_file(folder_ / "rows.jsonl", rows);
    put_file(folder_ / "run.yaml",
             "model_name_or_path: model\noutput_dir: run\ntrain_file: rows.jsonl\nmax_length: 64\nlora_r: 4\nlora_dropout: 0.1\n"
             "learning_rate: 1e-3\nmax_steps: 8\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 2\nsave_steps: 4\n"
             "save_total_limit: 0\nbnb_4bit_compute_dtype: float32\n");
  }
  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }
  std::string operator()(const std::string& name) const { return (folder_ / name).string(); }
  const std::filesystem::path& path() const { return folder_.path(); }

  // Pre-tokenized: 12 to 30 ids of the 96.
  static std::string row(int i) {
    std::string ids;
    for (int t = 0; t < 12 + i * 7 % 19; ++t) ids += fmt::format("{}{}", t == 0 ? "" : ", ", 3 + (i * 31 + t * t * 7) % 90);
    return fmt::format("{{\"input_ids\": [{}]}}", ids);
  }

  // Copies a golden model to model/ and gives it a tokenizer.
  void put_model(const std::string& golden) const {
    std::filesystem::remove_all(folder_ / "model");
    std::filesystem::copy(golden_path("models/" + golden), folder_ / "model");
    nlohmann::json vocab{{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}, {"\u0120", 3}};
    for (char c = '!'; c <= '|'; ++c) vocab.emplace(std::string(1, c), static_cast<int>(vocab.size()));
    const auto added = [](int id, const char* text) {
      return nlohmann::json{{"id", id}, {"content", text}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", true}};
    };
    const nlohmann::json byte_level{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
    put_file(folder_ / "model/tokenizer.json",
             nlohmann::json{{"version", "1.0"}, {"added_tokens", {added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")}}, {"normalizer", nullptr},
                            {"pre_tokenizer", byte_level}, {"post_processor", byte_level}, {"decoder", byte_level},
                            {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", nlohmann::json::array()}}}}.dump());
    put_file(folder_ / "model/tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"})");
  }

  ProgramResult nibble(const std::vector<std::string>& arguments) const { return Program(path(), arguments).wait(); }
  // With output_dir `run` and further --set words.
  std::vector<std::string> train_arguments(const std::string& run, const std::vector<std::string>& set = {}) const {
    std::vector<std::string> words{"train", (*this)("run.yaml"), "--json", "--set", "output_dir=" + (*this)(run)};
    for (const std::string& s : set) words.insert(words.end(), {"--set", s});
    return words;
  }
  ProgramResult train(const std::string& run, const std::vector<std::string>& set = {}) const { return nibble(train_arguments(run, set)); }

 private:
  TemporaryFolder folder_;
};

}  // namespace nibble::test
