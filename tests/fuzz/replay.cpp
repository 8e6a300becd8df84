// Runs a fuzz target without libFuzzer, as a test of every build: over its seeds (among them every finding that became one), and
// then over damaged copies of them, a fixed number or what fits into a few seconds.
//
//   x_fuzz FOLDER...                     every seed, then damaged ones
//   x_fuzz FOLDER... --mutation NUMBER   that damaged one alone, left as x_fuzz.input: what a failure names
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/mutate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size);
// Of a sanitizer, where there is one: it ends the process without a signal.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

namespace fs = std::filesystem;

constexpr int64_t kMutations = 20000;
constexpr double kSeconds = 3;        // for all damaged inputs together
constexpr unsigned kHangSeconds = 60;  // for one input, under sanitizers and on a busy machine

char running[512] = "";  // what is being tried, for the handler

void tell_what(const char* what) {
  for (const char* text : {what, static_cast<const char*>(running), "\n"}) (void)!::write(STDERR_FILENO, text, std::strlen(text));
}

void tell(int signal) {
  tell_what(signal == SIGALRM ? "\nhang: " : "\ncrash: ");
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void run(const std::string& bytes) {
  // A copy of the exact size, so that a sanitizer sees a read behind the end.
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  ::alarm(kHangSeconds);
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  ::alarm(0);
}

std::string file_bytes(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  if (in.bad() || !in.is_open()) {
    std::fprintf(stderr, "cannot read %s\n", file.c_str());
    std::exit(1);
  }
  return bytes;
}

std::string mutated(const std::vector<std::string>& seeds, int64_t number) {
  const auto n = static_cast<int64_t>(seeds.size());
  std::string bytes = seeds[static_cast<size_t>(number % n)];
  nibble::fuzz::Mutator(8, static_cast<uint64_t>(number)).apply(bytes, seeds[static_cast<size_t>(number / n % n)]);
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<fs::path> files;
  int64_t only = -1;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--mutation" && i + 1 < argc) {
      only = std::strtoll(argv[++i], nullptr, 10);
    } else if (!fs::is_directory(argv[i])) {
      files.emplace_back(argv[i]);
    } else {
      for (const auto& entry : fs::recursive_directory_iterator(argv[i])) {
        if (entry.is_regular_file()) files.push_back(entry.path());
      }
    }
  }
  if (files.empty()) return 1;  // a corpus that is not there tests nothing
  std::sort(files.begin(), files.end());  // numbers name the same inputs on every machine
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGABRT, SIGFPE, SIGTRAP, SIGALRM}) ::signal(signal, tell);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback([] { tell_what("\nfault: "); });
  std::vector<std::string> seeds;
  for (const fs::path& file : files) seeds.push_back(file_bytes(file));
  if (only >= 0) {
    const std::string bytes = mutated(seeds, only);
    std::ofstream(fs::path(argv[0]).filename().string() + ".input", std::ios::binary) << bytes;
    run(bytes);
    return 0;
  }
  for (size_t i = 0; i < files.size(); ++i) {
    std::snprintf(running, sizeof running, "%s", files[i].c_str());
    run(seeds[i]);
  }
  const auto start = std::chrono::steady_clock::now();
  int64_t number = 0;
  for (; number < kMutations; ++number) {
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > kSeconds) break;
    std::snprintf(running, sizeof running, "--mutation %lld", static_cast<long long>(number));
    run(mutated(seeds, number));
  }
  std::printf("%zu seeds, %lld damaged ones\n", seeds.size(), static_cast<long long>(number));
  return 0;
}
