// Runs a command on a card that seems to have less memory: plain device allocations are held until exactly as much is free as
// a smaller card would have.
//
//   gpu_ballast --free-gib 8 [--json FILE] [--module libnibble_cuda.so] -- command arguments...
// Exit code: the command's, 128 + n if signal n ended it; 2 wrong usage; 3 no GPU, or one with less free than that.
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "gpu/module.h"
#include "gpu/runtime_table.h"

extern char** environ;

namespace nibble::bench {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kClose = 16 * kMiB;  // a driver rounds allocations up; closer than this cannot be had

// Device memory that is held.
class Ballast {
 public:
  Ballast(const gpu::RuntimeTable& runtime, int64_t free_bytes) : runtime_(runtime) {
    for (int64_t piece = 1024 * kMiB; piece >= kMiB; piece /= 2) {
      while (runtime_.device_info(0).free_bytes - piece >= free_bytes) pieces_.push_back(runtime_.allocate(piece));
    }
  }
  Ballast(const Ballast&) = delete;
  ~Ballast() {
    for (void* piece : pieces_) runtime_.release(piece);
  }

 private:
  const gpu::RuntimeTable& runtime_;
  std::vector<void*> pieces_;
};

int run_command(char** command) {
  pid_t child = 0;
  if (const int error = posix_spawnp(&child, command[0], nullptr, nullptr, command, environ); error != 0) {
    throw IoError("cannot run the command", command[0], error);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw IoError("cannot wait for the command", command[0], errno);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int usage() {
  std::cerr << "usage: gpu_ballast --free-gib N [--json FILE] [--module libnibble_cuda.so] -- command arguments...\n";
  return static_cast<int>(ExitCode::kUsage);
}

int run(int argc, char** argv) {
  double free_gib = 0;
  std::string json, module = gpu::default_module_path().string();
  int i = 1;
  for (; i + 1 < argc && std::strcmp(argv[i], "--") != 0; i += 2) {
    const std::string name = argv[i];
    if (name == "--free-gib") {
      free_gib = std::atof(argv[i + 1]);
    } else if (name == "--json") {
      json = argv[i + 1];
    } else if (name == "--module") {
      module = argv[i + 1];
    } else {
      return usage();
    }
  }
  if (i + 1 >= argc || std::strcmp(argv[i], "--") != 0 || free_gib <= 0) return usage();

  const gpu::ModuleStatus status = gpu::module_status(module);
  if (!status.usable()) {
    std::cerr << "gpu_ballast: " << status.text << "\n";
    return 3;
  }
  const gpu::RuntimeTable& runtime = *status.table->runtime;
  const auto wanted = static_cast<int64_t>(free_gib * 1024) * kMiB;
  const int64_t before = runtime.device_info(0).free_bytes;
  if (before < wanted) {
    std::cerr << fmt::format("gpu_ballast: {} MiB are free, not {}\n", before / kMiB, wanted / kMiB);
    return 3;
  }
  const Ballast ballast(runtime, wanted);
  const int64_t left = runtime.device_info(0).free_bytes;
  if (left > wanted + kClose) {
    throw RunError(fmt::format("{} MiB are still free, {} were asked for", left / kMiB, wanted / kMiB));
  }
  const int exit_code = run_command(argv + i + 1);
  if (!json.empty()) {
    std::ofstream file(json);
    file << nlohmann::ordered_json{{"free_bytes_before", before}, {"free_bytes", left}, {"exit_code", exit_code}}.dump(1) << "\n";
    if (!file.flush()) throw IoError("cannot write the results", json);
  }
  return exit_code;
}

}  // namespace
}  // namespace nibble::bench

int main(int argc, char** argv) {
  try {
    return nibble::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "gpu_ballast: " << error.what() << "\n";
    return 1;
  }
}
