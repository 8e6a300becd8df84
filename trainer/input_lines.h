// Lines of a person's input that may be a long time coming: waiting for them ends when the program is to stop.
//
// std::getline would go on waiting after a signal, since the library reads again where a read was interrupted.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace nibble::trainer {

class InputLines {
 public:
  explicit InputLines(int fd) : fd_(fd) {}

  // The next line without its end ("\n" or "\r\n"); nullopt at the end of input, and once `stopping` is true, which is asked ten times
  // a second while nothing comes. THROWS IoError where it cannot be read.
  std::optional<std::string> next(const std::function<bool()>& stopping);

 private:
  std::optional<std::string> take_line();

  int fd_;
  std::string read_;  // and not yet given out
  bool ended_ = false;
};

}  // namespace nibble::trainer
