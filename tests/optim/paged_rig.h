// A paged arena on each kind of memory, with an update that a test can repeat on plain memory.
#pragma once

#include <memory>
#include <vector>

#include "optim/paged_arena.h"
#include "tests/optim/paged_fake_runtime.h"
#include "tests/support/temporary_folder.h"

namespace nibble::test {

inline constexpr int64_t kPage = optim::kSmallestPageBytes;

// Groups of so many floats each, one after another on page boundaries.
inline std::vector<optim::StateGroup> groups_of_floats(const std::vector<int64_t>& floats) {
  std::vector<optim::StateGroup> groups;
  int64_t at = 0;
  for (const int64_t n : floats) {
    groups.push_back({at, n * 4});
    at += (n * 4 + kPage - 1) / kPage * kPage;
  }
  return groups;
}

// Like an optimizer's: each value depends on what was there, and on the step.
inline void update(float* state, int64_t n, int step) {
  for (int64_t i = 0; i < n; ++i) state[i] = 0.75f * state[i] + static_cast<float>(i % 97) + static_cast<float>(step);
}

struct PagedRig {
  TemporaryFolder folder;
  std::unique_ptr<FakeRuntime> device;  // null: on the CPU
  std::unique_ptr<optim::PagedArena> arena;
  std::vector<optim::StateGroup> groups;
  std::vector<float> expected;          // the arena as plain memory

  PagedRig(optim::PagedMemory memory, std::vector<optim::StateGroup> state, int64_t budget_bytes, uint64_t seed = 1)
      : groups(std::move(state)) {
    optim::PagedOptions options;
    options.budget_bytes = memory == optim::PagedMemory::kHost ? 0 : budget_bytes;
    options.page_bytes = kPage;
    if (memory == optim::PagedMemory::kManaged || memory == optim::PagedMemory::kStaged) {
      FakeDevice fake;
      fake.managed = memory == optim::PagedMemory::kManaged;
      fake.limit_bytes = budget_bytes;
      fake.seed = seed;
      device = std::make_unique<FakeRuntime>(fake);
      options.queue = device->queue();
    } else {
      options.folder = folder.path();
    }
    arena = std::make_unique<optim::PagedArena>(options);
    expected.assign(static_cast<size_t>((groups.back().offset + groups.back().bytes) / 4), 0.0f);
  }
  void reserve() { arena->reserve(groups); }

  // Updates the window that begins at `first`, and the plain memory. Returns how many groups it had.
  size_t update_window(size_t first, int step) {
    const optim::StateWindow window = arena->before_update(first);
    for (size_t g = first; g < first + window.groups; ++g) {
      std::byte* address = window.address + (groups[g].offset - groups[first].offset);
      const int64_t bytes = groups[g].bytes;
      const auto kernel = [address, bytes, step] { update(reinterpret_cast<float*>(address), bytes / 4, step); };
      if (device) {
        device->launch(address, bytes, kernel);
      } else {
        kernel();
      }
      update(expected.data() + groups[g].offset / 4, bytes / 4, step);
    }
    arena->after_update(first, window.groups);
    return window.groups;
  }

  void step(int number) {
    for (size_t first = 0; first < groups.size();) first += update_window(first, number);
  }

  // Group by group: what lies between groups is nobody's.
  bool holds_what_is_expected() {
    for (const optim::StateGroup& group : groups) {
      std::vector<float> found(static_cast<size_t>(group.bytes / 4));
      arena->read(group.offset, group.bytes, found.data());
      if (!std::equal(found.begin(), found.end(), expected.begin() + group.offset / 4)) return false;
    }
    return true;
  }
};

}  // namespace nibble::test
