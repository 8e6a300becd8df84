// What the emulator throws where a kernel did what CUDA leaves undefined: a test's failure, not an error of CUDA's, so
// that no code under test can take it for one and go on.
#pragma once

#include <stdexcept>
#include <string>

namespace nibble::emulator {

class KernelFailure : public std::logic_error {
 public:
  explicit KernelFailure(const std::string& text) : std::logic_error(text) {}
};

}  // namespace nibble::emulator
