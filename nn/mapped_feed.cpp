#include "nn/mapped_feed.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "core/mapped_pages.h"

namespace nibble::nn {
namespace {

constexpr size_t kPieceBytes = size_t{4} << 20;  // between two looks whether it is still wanted

}  // namespace

MappedPart joined(MappedPart stretches) {
  std::erase_if(stretches, [](const auto& s) { return s.empty(); });
  std::sort(stretches.begin(), stretches.end(), [](const auto& a, const auto& b) { return a.data() < b.data(); });
  MappedPart all;
  for (const auto& s : stretches) {
    if (all.empty() || s.data() > all.back().data() + all.back().size()) {
      all.push_back(s);
    } else {
      const std::byte* end = std::max(all.back().data() + all.back().size(), s.data() + s.size());
      all.back() = {all.back().data(), end};
    }
  }
  return all;
}

MappedFeed::MappedFeed(std::vector<MappedPart> parts, MappedPart passing) : passing_(joined(std::move(passing))) {
  for (MappedPart& part : parts) parts_.push_back(joined(std::move(part)));
  reader_ = std::thread([this] { work(); });
}

MappedFeed::~MappedFeed() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = stops_ = true;
  }
  changed_.notify_all();
  reader_.join();
}

void MappedFeed::enter(int64_t part, int64_t next) {
  const auto count = static_cast<int64_t>(parts_.size());
  if (part < 0 || part >= count || next < kUnknown || next >= count) throw std::logic_error("the base has no such part");
  // What is neither used now nor next goes before more is brought: the last part, and one that was announced in vain.
  stop_bringing(part);
  for (const int64_t old : {current_, next_}) {
    if (old != kUnknown && old != part && old != next) drop(old);
  }
  current_ = part;
  next_ = next;
  {
    const std::lock_guard lock(mutex_);
    wanted_ = next == part || next == bringing_ ? kUnknown : next;
  }
  changed_.notify_all();
}

void MappedFeed::settle() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return wanted_ == kUnknown && bringing_ == kUnknown; });
}

// Else its last pages could come after they were dropped. The part that is entered may go on coming.
void MappedFeed::stop_bringing(int64_t except) {
  std::unique_lock lock(mutex_);
  wanted_ = kUnknown;
  if (bringing_ == kUnknown || bringing_ == except) return;
  stops_ = true;
  changed_.wait(lock, [this] { return bringing_ == kUnknown; });
}

void MappedFeed::drop(int64_t part) {
  for (const auto& stretch : parts_[static_cast<size_t>(part)]) drop_pages(stretch);
  if (part + 1 != static_cast<int64_t>(parts_.size())) return;
  for (const auto& stretch : passing_) drop_pages(stretch);
}

void MappedFeed::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ends_ || wanted_ != kUnknown; });
    if (ends_) return;
    bringing_ = std::exchange(wanted_, kUnknown);
    stops_ = false;
    for (std::span<const std::byte> left : parts_[static_cast<size_t>(bringing_)]) {
      while (!left.empty() && !stops_) {
        const auto piece = left.first(std::min(left.size(), kPieceBytes));
        lock.unlock();
        bring_pages(piece);
        lock.lock();
        left = left.subspan(piece.size());
      }
    }
    bringing_ = kUnknown;
    changed_.notify_all();
  }
}

}  // namespace nibble::nn
