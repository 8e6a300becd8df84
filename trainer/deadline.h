// When a run with max_time must begin to stop, so that it has saved before its time is over.
//
// What is kept free at the end: the longest time between two looks at the clock so far, half as long again, and twice the longest
// save so far (a checkpoint may be on its way to the disk when the last one is to follow), and a second with what the process took to
// begin, since a machine that is slow at the one end is slow at the other. Before the first save, its time is estimated from what it
// will write, at the rate of a slow disk.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

#include "trainer/process_clock.h"

namespace nibble::trainer {

class Deadline {
 public:
  // max_time_s: 0 is none, never reached. now: seconds since the process started.
  explicit Deadline(double max_time_s, std::function<double()> now = seconds_since_process_start);

  // Asked at every poll, from any thread: the time between two polls is what a poll has to be early by. Once true, always true.
  bool reached();
  // Whether a step as long as the longest so far can still be made and saved.
  bool leaves_time_for_step() const;

  // From now on there is something to save: so many bytes.
  void expect_save(int64_t bytes);
  void save_took(double seconds);
  void step_took(double seconds);

  // Seconds before the end at which reached() becomes true, as far as is known now.
  double reserve_s() const;

 private:
  double reserve() const;     // with the mutex held, as what follows
  double saving_s() const;

  mutable std::mutex mutex_;
  double max_time_s_;
  double end_s_ = 0.0;  // to close files and leave
  std::function<double()> now_;
  double last_poll_s_ = 0.0;
  double longest_gap_s_ = 0.0, longest_step_s_ = 0.0, estimated_save_s_ = 0.0, longest_save_s_ = 0.0;
  bool reached_ = false;
};

}  // namespace nibble::trainer
