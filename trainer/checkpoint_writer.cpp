#include "trainer/checkpoint_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "io/checkpoint.h"
#include "io/optimizer_state.h"
#include "trainer/checkpoint_space.h"

namespace nibble::trainer {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Threads that are made while it lives take no signals: those are for the thread that trains.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

template <class Work>
std::future<double> in_thread(Work work) {
  const SignalsBlocked blocked;
  return std::async(std::launch::async, [work = std::move(work)] {
    const auto start = std::chrono::steady_clock::now();
    work();
    return seconds_since(start);
  });
}

}  // namespace

CheckpointWriter::CheckpointWriter(const CheckpointParts& parts, CheckpointOptions options, std::function<void(const std::string&)> say)
    : parts_(parts), options_(std::move(options)), say_(std::move(say)) {
  if (!options_.in_background) return;
  const MemoryStage stage(parts_.account, "making room for the copy of a checkpoint", MemoryPart::kCheckpoint);
  copy_ = at::empty({parts_.optimizer.state_bytes()}, at::kByte);
  // Pages come when they are first written: here, and not while training waits.
  pending_ = in_thread([this] { std::memset(copy_.mutable_data_ptr(), 0, copy_.nbytes()); });
}

CheckpointWriter::~CheckpointWriter() {
  try {
    wait();
  } catch (const std::exception& error) {
    say_(error.what());
  }
}

void CheckpointWriter::save(const RunState& state) {
  const auto start = std::chrono::steady_clock::now();
  wait();
  const MemoryStage stage(parts_.account, "saving a checkpoint", MemoryPart::kCheckpoint);
  Moment moment{state, io::adapter_tensors(parts_.model), parts_.optimizer.steps()};
  if (!options_.in_background) {
    write(moment, nullptr);
    const double seconds = seconds_since(start);
    blocked_since_taken_s_ += seconds;
    return count({seconds, seconds});
  }
  // Storage that the next step overwrites.
  for (auto& [name, tensor] : moment.adapter) tensor = tensor.clone();
  parts_.optimizer.copy_state(static_cast<std::byte*>(copy_.mutable_data_ptr()));
  pending_ = in_thread([this, moment = std::move(moment)] { write(moment, static_cast<const std::byte*>(copy_.const_data_ptr())); });
  current_.blocked_s = seconds_since(start);
  blocked_since_taken_s_ += current_.blocked_s;
}

void CheckpointWriter::check() {
  if (pending_.valid() && pending_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) wait();
}

void CheckpointWriter::wait() {
  if (!pending_.valid()) return;
  const double seconds = pending_.get();
  if (current_.blocked_s > 0) count({current_.blocked_s, current_.blocked_s + seconds});
  current_ = {};
}

void CheckpointWriter::count(const SaveTime& time) {
  longest_.blocked_s = std::max(longest_.blocked_s, time.blocked_s);
  longest_.total_s = std::max(longest_.total_s, time.total_s);
}

double CheckpointWriter::take_blocked_s() { return std::exchange(blocked_since_taken_s_, 0.0); }

void CheckpointWriter::write(const Moment& moment, const std::byte* copy) const {
  const std::filesystem::path& run = parts_.folder.path();
  const int64_t step = moment.state.global_step;
  parts_.folder.expect_there();
  expect_room_to_save(run, step, checkpoint_bytes(parts_.model, parts_.optimizer));
  parts_.metrics.sync();
  const auto write_optimizer = [&](const std::filesystem::path& to) {
    const std::filesystem::path file = to / io::kOptimizerFile;
    if (copy == nullptr) return io::save_optimizer(parts_.optimizer, file);
    io::save_optimizer_copy(parts_.optimizer, moment.optimizer_steps, copy, file);
  };
  const auto saved = io::save_checkpoint(run, step, {run_state_json(moment.state), options_.config,
                                                     [&](const std::filesystem::path& to) { io::write_adapter(to, moment.adapter, parts_.adapter); },
                                                     write_optimizer});
  // Checkpoints past this step belong to a run that was left for this one.
  for (const io::CheckpointInfo& other : io::list_checkpoints(run, io::CheckDepth::kSizes)) {
    if (other.step > step) io::remove_checkpoint(other.path);
  }
  io::rotate_checkpoints(run, options_.save_total_limit, saved, {});
  parts_.folder.log(fmt::format("saved {}", saved.filename().string()));
}

}  // namespace nibble::trainer
