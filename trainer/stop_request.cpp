#include "trainer/stop_request.h"

#include <csignal>
#include <unistd.h>

#include "core/error.h"

namespace nibble::trainer {
namespace {

// A signal handler can reach nothing but a static object: the one mutable global of the program.
volatile std::sig_atomic_t g_signal = 0;

extern "C" void on_stop_signal(int number) {
  if (g_signal != 0) _exit(static_cast<int>(ExitCode::kInterrupted));
  g_signal = number;
}

void install(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // a write under way is finished, not failed
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

StopRequest::StopRequest() {
  g_signal = 0;
  install(on_stop_signal);
}

StopRequest::~StopRequest() { install(SIG_DFL); }

bool StopRequest::requested() const { return g_signal != 0; }

const char* StopRequest::name() const {
  switch (g_signal) {
    case 0: return "";
    case SIGINT: return "SIGINT";
    default: return "SIGTERM";
  }
}

}  // namespace nibble::trainer
