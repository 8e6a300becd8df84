#include "core/mapping_guard.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace nibble {
namespace {

struct Entry {
  uintptr_t begin = 0, end = 0;
  std::string path;
  std::string last_words;  // what the handler writes, which cannot make it
  struct stat opened {};
};

// Enough for every shard of the largest models; a file beyond is mapped without an entry.
constexpr size_t kEntries = 1024;
std::array<std::atomic<Entry*>, kEntries> entries{};

std::function<std::string(const FormatError&)>& last_words_of() {
  static std::function<std::string(const FormatError&)> text;
  return text;
}

const Entry* find_entry(uintptr_t address) {
  for (const auto& slot : entries) {
    const Entry* entry = slot.load(std::memory_order_acquire);
    if (entry != nullptr && address >= entry->begin && address < entry->end) return entry;
  }
  return nullptr;
}

void on_lost_page(int signal, siginfo_t* info, void*) {
  const Entry* entry = find_entry(reinterpret_cast<uintptr_t>(info->si_addr));
  if (entry == nullptr) {  // the instruction that faulted runs again, and ends the process as it would have
    ::signal(signal, SIG_DFL);
    return;
  }
  std::string_view text = entry->last_words;
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) break;
    text.remove_prefix(static_cast<size_t>(written));
  }
  ::_exit(static_cast<int>(ExitCode::kDamagedFile));
}

bool same(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

}  // namespace

void enter_mapping(std::span<const std::byte> bytes, const std::string& path, const struct stat& opened) {
  auto entry = std::make_unique<Entry>();
  entry->begin = reinterpret_cast<uintptr_t>(bytes.data());
  entry->end = entry->begin + bytes.size();
  entry->path = path;
  entry->opened = opened;
  if (const auto& text = last_words_of()) {
    entry->last_words = text(FormatError("the file became shorter while it was read, or its disk does not return it any more: copy or "
                                         "download it again, and leave it alone while nibble runs", path));
  }
  for (auto& slot : entries) {
    Entry* empty = nullptr;
    if (slot.compare_exchange_strong(empty, entry.get(), std::memory_order_release)) return static_cast<void>(entry.release());
  }
}

void leave_mapping(std::span<const std::byte> bytes) noexcept {
  for (auto& slot : entries) {
    Entry* entry = slot.load(std::memory_order_acquire);
    if (entry == nullptr || entry->begin != reinterpret_cast<uintptr_t>(bytes.data())) continue;
    slot.store(nullptr, std::memory_order_release);
    delete entry;
    return;
  }
}

void expect_unchanged(std::span<const std::byte> bytes) {
  const Entry* entry = find_entry(reinterpret_cast<uintptr_t>(bytes.data()));
  struct stat now {};
  if (entry == nullptr || ::stat(entry->path.c_str(), &now) != 0) return;  // no longer there: it is mapped as it was
  const struct stat& then = entry->opened;
  if (now.st_dev != then.st_dev || now.st_ino != then.st_ino) return;  // another file of the name
  if (now.st_size == then.st_size && same(now.st_mtim, then.st_mtim)) return;
  throw FormatError(fmt::format("the file was written to while it was read: it had {} bytes and has {} now; start again when it is "
                                "complete, and leave it alone while nibble runs", static_cast<int64_t>(then.st_size),
                                static_cast<int64_t>(now.st_size)), entry->path);
}

void exit_on_lost_mapping(std::function<std::string(const FormatError&)> text) {
  last_words_of() = std::move(text);
  struct sigaction action {};
  action.sa_sigaction = on_lost_page;
  action.sa_flags = SA_SIGINFO;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace nibble
