// A request to stop, from outside by a signal or from the configuration by max_time.
//
// SIGINT, SIGTERM and SIGHUP ask to stop (SIGHUP not where it was ignored when the program started, as under nohup): whoever works
// polls between micro-batches, weights, rows or tokens, brings what there is to a good end, and the program ends with exit code 75.
// A second one ends the program at once, with 75 too: what was saved before is as it was, and what was being written is under a
// temporary name that the next run removes. Signals within a fifth of a second are one request: `timeout` and batch systems send the
// same one to a process and to its group. SIGUSR1 asks a run to save a checkpoint and go on.
//
// The handlers only store numbers in atomics, and may run on any thread.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "trainer/deadline.h"

namespace nibble::trainer {

// Installs the handlers. They stay when it goes: a signal that comes when the work is done, while the process is ending, makes no failure
// of it. One at a time.
class StopRequest {
 public:
  struct Options {
    double max_time_s = 0.0;     // since the process started; 0: none
    bool outlives_pipes = false; // a reader of our output that goes away ends nothing (SIGPIPE): for runs of days
  };
  StopRequest() : StopRequest(Options{}) {}
  explicit StopRequest(const Options& options);
  StopRequest(const StopRequest&) = delete;

  // On any thread.
  bool requested() const;
  // THROWS Interrupted "<reason> while <doing>" where a stop is requested.
  void check(std::string_view doing) const;
  // "SIGINT", "SIGTERM", "SIGHUP" or "max_time", whichever came first; "" before a request.
  const char* name() const;
  // The same as a sentence's beginning: "SIGTERM", "max_time (11h30m) is over".
  std::string reason() const;

  // Whether SIGUSR1 came since this was last asked.
  bool take_save_request() const;

  // Whether a step as long as the longest so far ends before max_time; where it does not, the time is over.
  bool leaves_time_for_step() const;
  // For those who know how long things take.
  Deadline& deadline() const { return deadline_; }

 private:
  double max_time_s_;
  mutable Deadline deadline_;
  mutable std::atomic<bool> time_is_over_ = false;
};

}  // namespace nibble::trainer
