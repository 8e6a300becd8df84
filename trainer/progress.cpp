#include "trainer/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "core/memory_limit.h"

namespace nibble::trainer {
namespace {

constexpr int kBarCells = 20;

std::string eta_text(std::optional<double> seconds_left) {
  return seconds_left ? fmt::format("  ETA {}", duration_text(*seconds_left)) : "";
}

// "-" where there is none: all of its steps were left out.
std::string loss_text(double loss) { return std::isnan(loss) ? "-" : fmt::format("{:.4f}", loss); }

}  // namespace

double peak_rss_mib() { return static_cast<double>(peak_resident_bytes()) / (1024.0 * 1024.0); }

std::optional<int> terminal_columns(int fd) {
  if (::isatty(fd) == 0) return std::nullopt;
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0.0 || seconds > 1e9) return "?";
  const auto total = static_cast<int64_t>(std::llround(seconds));
  const int64_t s = total % 60, m = total / 60 % 60, h = total / 3600 % 24, d = total / 86400;
  if (d > 0) return fmt::format("{}d {:02}:{:02}", d, h, m);
  if (h > 0) return fmt::format("{}:{:02}:{:02}", h, m, s);
  if (m > 0) return fmt::format("{}:{:02}", m, s);
  return fmt::format("{}s", s);
}

void StepTimer::step_done(int64_t step, double now_seconds) {
  if (first_step_ == 0) {
    first_step_ = step;
    first_seconds_ = now_seconds;
  }
  last_step_ = step;
  last_seconds_ = now_seconds;
}

std::optional<double> StepTimer::seconds_left() const {
  if (last_step_ <= first_step_) return std::nullopt;
  const double a_step = (last_seconds_ - first_seconds_) / static_cast<double>(last_step_ - first_step_);
  return a_step * static_cast<double>(std::max<int64_t>(0, total_steps_ - last_step_));
}

std::string live_line(const ProgressState& state, int columns) {
  const auto total = static_cast<double>(std::max<int64_t>(1, state.total_steps));
  const double share = std::clamp(static_cast<double>(state.step) / total, 0.0, 1.0);
  const auto filled = static_cast<size_t>(share * kBarCells);
  const std::string bar = std::string(filled, '#') + std::string(kBarCells - filled, '-');
  std::string line = fmt::format("[{}] {:3}% {}/{}  loss {}  {:.0f} tok/s  {:.0f} MiB{}", bar,
                                 static_cast<int>(share * 100.0), state.step, state.total_steps, loss_text(state.loss),
                                 state.tokens_per_s, state.memory_mib, eta_text(state.seconds_left));
  // One column stays free: a full line makes some terminals wrap, and then the next \r starts a new one.
  const auto room = static_cast<size_t>(std::max(0, columns - 1));
  if (line.size() > room) line.resize(room);
  return line;
}

std::string logged_line(const MetricsRow& row, int64_t total_steps, std::optional<double> seconds_left) {
  const double memory_mib = row.peak_gpu_mib > 0.0 ? row.peak_gpu_mib : row.peak_rss_mib;  // where the run computes
  std::string line = fmt::format("step {}/{}  epoch {:.2f}  loss {}", row.step, total_steps, row.epoch, loss_text(row.loss));
  if (!std::isnan(row.grad_norm)) line += fmt::format("  grad_norm {:.3f}", row.grad_norm);
  line += fmt::format("  lr {:.2e}", row.learning_rate);
  if (!std::isnan(row.step_ms)) line += fmt::format("  {:.0f} tok/s  {:.0f} ms", row.tokens_per_s, row.step_ms);
  line += fmt::format("  {:.0f} MiB", memory_mib);
  if (row.skipped_steps) line += fmt::format("  skipped {}", *row.skipped_steps);
  if (row.eval_loss) line += fmt::format("  eval_loss {:.4f}", *row.eval_loss);
  return line + eta_text(seconds_left);
}

Progress::~Progress() {
  // The last state stays readable.
  if (!live_.empty()) out_ << '\n' << std::flush;
}

void Progress::clear() {
  if (!live_.empty()) out_ << "\r\x1b[K";
}

void Progress::step(const ProgressState& state) {
  if (!columns_) return;
  clear();
  live_ = live_line(state, *columns_);
  out_ << live_ << std::flush;
}

void Progress::row(const MetricsRow& row, int64_t total_steps, std::optional<double> seconds_left) {
  // On a terminal the live line has the same numbers; only an evaluation is news.
  if (!columns_) {
    out_ << logged_line(row, total_steps, seconds_left) << '\n' << std::flush;
  } else if (row.eval_loss) {
    message(fmt::format("step {}: eval_loss {:.4f}", row.step, *row.eval_loss));
  }
}

void Progress::message(const std::string& text) {
  clear();
  out_ << text << '\n' << live_ << std::flush;
}

}  // namespace nibble::trainer
