#include "trainer/kill_point.h"

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <thread>
#include <utility>

#include "core/error.h"
#include "io/checkpoint.h"

namespace nibble::trainer {

void add_kill_point(LoopHooks& hooks, const RunState& state, const std::filesystem::path& run, int64_t step) {
  hooks.step_done = [done = std::move(hooks.step_done), &state, checkpoint = run / io::checkpoint_name(step), step] {
    if (done) done();
    if (state.global_step <= step) return;
    constexpr auto kWait = std::chrono::milliseconds(5);
    constexpr int kTries = 12000;
    for (int i = 0; i < kTries; ++i) {
      std::error_code ignored;
      if (std::filesystem::exists(checkpoint, ignored)) std::raise(SIGKILL);
      std::this_thread::sleep_for(kWait);
    }
    throw RunError(fmt::format("{} was not saved within a minute", checkpoint.string()));
  };
}

}  // namespace nibble::trainer
