#include "trainer/stop_request.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdint>

#include "core/error.h"
#include "schema/duration.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kOneRequestNs = 200'000'000;

// A signal handler can reach nothing but static objects: the mutable globals of the program.
std::atomic<int> g_signal = 0;
std::atomic<int64_t> g_first_ns = 0;  // when the first one came, on the monotonic clock
std::atomic<bool> g_save = false;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

extern "C" void on_stop_signal(int number) {
  const int64_t now = monotonic_ns();
  int64_t none = 0;
  if (g_first_ns.compare_exchange_strong(none, now)) {
    g_signal = number;
    return;
  }
  if (now - none < kOneRequestNs) return;  // `none` holds the first one's time now
  constexpr std::string_view kText = "\nanother signal: leaving at once; earlier checkpoints are as they were\n";
  (void)!::write(STDERR_FILENO, kText.data(), kText.size());
  _exit(static_cast<int>(ExitCode::kInterrupted));
}

extern "C" void on_save_signal(int) { g_save = true; }

bool is_ignored(int number) {
  struct sigaction now = {};
  return sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

void install(int number, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // a write under way is finished, not failed
  sigaction(number, &action, nullptr);
}

}  // namespace

StopRequest::StopRequest(const Options& options) : max_time_s_(options.max_time_s), deadline_(options.max_time_s) {
  g_signal = 0;
  g_first_ns = 0;
  g_save = false;
  install(SIGINT, on_stop_signal);
  install(SIGTERM, on_stop_signal);
  if (!is_ignored(SIGHUP)) install(SIGHUP, on_stop_signal);
  install(SIGUSR1, on_save_signal);
  install(SIGXFSZ, SIG_IGN);  // a file beyond its limit is an error of the write, which says so
  if (options.outlives_pipes) install(SIGPIPE, SIG_IGN);
}

bool StopRequest::requested() const {
  if (g_signal != 0 || time_is_over_) return true;
  if (!deadline_.reached()) return false;
  time_is_over_ = true;
  return true;
}

bool StopRequest::leaves_time_for_step() const {
  if (!deadline_.leaves_time_for_step()) time_is_over_ = true;
  return !time_is_over_;
}

void StopRequest::check(std::string_view doing) const {
  if (requested()) throw Interrupted(fmt::format("{} while {}", reason(), doing));
}

const char* StopRequest::name() const {
  if (time_is_over_) return "max_time";
  switch (g_signal) {
    case 0: return "";
    case SIGINT: return "SIGINT";
    case SIGHUP: return "SIGHUP";
    default: return "SIGTERM";
  }
}

std::string StopRequest::reason() const {
  if (!time_is_over_) return name();
  return fmt::format("max_time ({}) is over", schema::duration_text({std::llround(max_time_s_)}));
}

bool StopRequest::take_save_request() const { return g_save.exchange(false); }

}  // namespace nibble::trainer
