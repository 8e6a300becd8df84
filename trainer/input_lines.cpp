#include "trainer/input_lines.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "core/error.h"

namespace nibble::trainer {

std::optional<std::string> InputLines::take_line() {
  const size_t newline = read_.find('\n');
  if (newline == std::string::npos && (!ended_ || read_.empty())) return std::nullopt;
  std::string line = read_.substr(0, newline);
  read_.erase(0, newline == std::string::npos ? newline : newline + 1);
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

std::optional<std::string> InputLines::next(const std::function<bool()>& stopping) {
  constexpr int kPollMs = 100;
  while (!stopping()) {
    if (std::optional<std::string> line = take_line()) return line;
    if (ended_) return std::nullopt;
    pollfd input{fd_, POLLIN, 0};
    const int ready = ::poll(&input, 1, kPollMs);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    std::array<char, 4096> piece{};
    const ssize_t got = ::read(fd_, piece.data(), piece.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) throw IoError("cannot read the input", "standard input", errno);
    if (got == 0) ended_ = true;
    read_.append(piece.data(), static_cast<size_t>(got));
  }
  return std::nullopt;
}

}  // namespace nibble::trainer
