// Every small damage of a file, one after the other: cut off at each byte, each byte changed, integers at the ends of their range
// in its place, and the same for numbers in texts. Whatever reads it may accept or refuse each with an error of ours; it may not
// crash, hang, throw anything else, or ask for memory that the file does not justify.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>

#include "core/error.h"

namespace nibble::test {

// While it lives, an allocation of more than `bytes` beyond what is there fails. The address sanitizer, whose shadow has no such
// limit, refuses sizes out of reason by itself.
class AllocationLimit {
 public:
  explicit AllocationLimit(rlim_t bytes = rlim_t{512} << 20) {
    ::getrlimit(RLIMIT_AS, &before_);
#ifndef __SANITIZE_ADDRESS__
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlimit limit{pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_AS, &limit);
#else
    static_cast<void>(bytes);
#endif
  }
  AllocationLimit(const AllocationLimit&) = delete;
  ~AllocationLimit() { ::setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_{};
};

struct DamageCount {
  int tried = 0, refused = 0;
  int accepted_cuts = 0;  // of the accepted ones, those of which only the end was missing
};

// Reads `bytes` (which must be accepted) and each damaged form of them. THROWS nothing; a read that fails otherwise than by an
// Error with the exit code `code` fails the test.
inline DamageCount try_damage(const std::string& bytes, const std::function<void(const std::string&)>& read, ExitCode code = ExitCode::kDamagedFile) {
  DamageCount count;
  const AllocationLimit limit;
  const auto attempt = [&](const std::string& damaged, const std::string& what) {
    if (damaged == bytes && count.tried > 0) return false;  // what was there already is no damage
    ++count.tried;
    try {
      read(damaged);
      return true;
    } catch (const Error& error) {
      EXPECT_TRUE(error.exit_code() == code || error.exit_code() == ExitCode::kUsage) << what << ": " << error.what();
      EXPECT_FALSE(error.message().empty()) << what;
      ++count.refused;
    } catch (const std::exception& error) {
      ADD_FAILURE() << what << ": " << error.what();
    }
    return false;
  };
  EXPECT_TRUE(attempt(bytes, "undamaged"));
  for (size_t length = 0; length < bytes.size(); ++length) {
    count.accepted_cuts += attempt(bytes.substr(0, length), "cut to " + std::to_string(length)) ? 1 : 0;
  }
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const int change : {0x01, 0x80, 0xFF}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ change);
      attempt(damaged, "byte " + std::to_string(at) + " changed");
    }
  }
  constexpr std::array<uint64_t, 6> kExtremes{0, UINT64_MAX, uint64_t{1} << 31, uint64_t{1} << 63, (uint64_t{1} << 63) - 1, UINT64_MAX - 7};
  for (size_t at = 0; at < bytes.size(); at += 4) {
    for (const size_t width : {size_t{4}, size_t{8}}) {
      for (const uint64_t value : kExtremes) {
        std::string damaged = bytes;
        std::memcpy(damaged.data() + at, &value, std::min(width, damaged.size() - at));
        attempt(damaged, "integer at " + std::to_string(at));
      }
    }
  }
  constexpr const char* kDigits = "0123456789";
  for (size_t at = bytes.find_first_of(kDigits); at != std::string::npos; at = bytes.find_first_of(kDigits, bytes.find_first_not_of(kDigits, at))) {
    const size_t end = std::min(bytes.find_first_not_of(kDigits, at), bytes.size());
    for (const char* value : {"0", "-1", "2147483648", "9223372036854775808", "18446744073709551615", "1e999", "0.5", "null", "[]"}) {
      attempt(bytes.substr(0, at) + value + bytes.substr(end), std::string("number at ") + std::to_string(at) + " is " + value);
    }
  }
  return count;
}

}  // namespace nibble::test
