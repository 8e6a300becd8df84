#include "trainer/deadline.h"

#include <algorithm>
#include <utility>

namespace nibble::trainer {
namespace {

constexpr double kEndS = 1.0, kLargestStart = 0.25;  // of max_time
constexpr double kSlowDiskBytesPerS = 50e6;      // of a network's, or a busy one
constexpr double kLongerGap = 1.5, kLongerStep = 1.25, kSavesInARow = 2.0;

}  // namespace

Deadline::Deadline(double max_time_s, std::function<double()> now) : max_time_s_(max_time_s), now_(std::move(now)) {
  last_poll_s_ = now_();
  end_s_ = kEndS + std::min(last_poll_s_, kLargestStart * max_time_s);
}

double Deadline::saving_s() const { return kSavesInARow * (longest_save_s_ > 0 ? longest_save_s_ : estimated_save_s_); }

double Deadline::reserve() const { return end_s_ + kLongerGap * longest_gap_s_ + saving_s(); }

bool Deadline::reached() {
  if (max_time_s_ <= 0) return false;
  const std::lock_guard lock(mutex_);
  const double now = now_();
  longest_gap_s_ = std::max(longest_gap_s_, now - last_poll_s_);
  last_poll_s_ = now;
  reached_ = reached_ || now + reserve() >= max_time_s_;
  return reached_;
}

bool Deadline::leaves_time_for_step() const {
  if (max_time_s_ <= 0) return true;
  const std::lock_guard lock(mutex_);
  return now_() + kLongerStep * longest_step_s_ + saving_s() + end_s_ < max_time_s_;
}

void Deadline::expect_save(int64_t bytes) {
  if (max_time_s_ <= 0) return;
  const std::lock_guard lock(mutex_);
  estimated_save_s_ = static_cast<double>(bytes) / kSlowDiskBytesPerS;
  last_poll_s_ = now_();  // what came before was no part of training
}

void Deadline::save_took(double seconds) {
  if (max_time_s_ <= 0) return;
  const std::lock_guard lock(mutex_);
  longest_save_s_ = std::max(longest_save_s_, seconds);
  last_poll_s_ = now_();  // a save is no time between polls
}

void Deadline::step_took(double seconds) {
  const std::lock_guard lock(mutex_);
  longest_step_s_ = std::max(longest_step_s_, seconds);
}

double Deadline::reserve_s() const {
  const std::lock_guard lock(mutex_);
  return reserve();
}

}  // namespace nibble::trainer
