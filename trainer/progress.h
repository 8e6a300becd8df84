// What a person sees while a run goes on: one live line on a terminal, one plain line a logged step elsewhere.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include "trainer/metrics.h"

namespace nibble::trainer {

// The process's largest resident memory so far, in MiB.
double peak_rss_mib();

// Columns of the terminal behind a file descriptor; nullopt where there is none.
std::optional<int> terminal_columns(int fd);

// "45s", "3:07", "2:05:09", "3d 04:12".
std::string duration_text(double seconds);

// Time left, from the steps that this process has made. The first one is left out: it pays for warming up.
class StepTimer {
 public:
  explicit StepTimer(int64_t total_steps) : total_steps_(total_steps) {}
  // Step number `step` (from 1) has ended at `now_seconds` of any steady clock.
  void step_done(int64_t step, double now_seconds);
  // Seconds until the last step ends; nullopt before two steps are done.
  std::optional<double> seconds_left() const;

 private:
  int64_t total_steps_;
  int64_t first_step_ = 0, last_step_ = 0;
  double first_seconds_ = 0.0, last_seconds_ = 0.0;
};

struct ProgressState {
  int64_t step = 0;
  int64_t total_steps = 0;
  double loss = 0.0;
  double tokens_per_s = 0.0;
  double memory_mib = 0.0;
  std::optional<double> seconds_left;
};

// "[#####-----]  50% 100/200  loss 1.2345  812 tok/s  1034 MiB  ETA 4:10", cut to `columns`.
std::string live_line(const ProgressState& state, int columns);
// "step 100/200  epoch 0.50  loss 1.2345  grad_norm 0.512  lr 1.90e-04  812 tok/s  1260 ms  1034 MiB  ETA 4:10"
std::string logged_line(const MetricsRow& row, int64_t total_steps, std::optional<double> seconds_left);

// Draws on `out`. With `columns` (a terminal) it keeps one live line; without, it prints logged rows only.
class Progress {
 public:
  Progress(std::ostream& out, std::optional<int> columns) : out_(out), columns_(columns) {}
  Progress(const Progress&) = delete;
  ~Progress();

  void step(const ProgressState& state);  // after every optimizer step
  void row(const MetricsRow& row, int64_t total_steps, std::optional<double> seconds_left);
  void message(const std::string& text);  // a line of its own, above the live one

 private:
  void clear();
  std::ostream& out_;
  std::optional<int> columns_;
  std::string live_;  // the live line that is on the screen now
};

}  // namespace nibble::trainer
