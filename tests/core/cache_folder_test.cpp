#include "core/cache_folder.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>

namespace nibble {
namespace {

// An environment variable with another value, or none, for as long as it lives.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1);
  }
  ~Variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(CacheFolder, FollowsXdgThenHomeThenNothing) {
  {
    const Variable xdg("XDG_CACHE_HOME", "/x"), home("HOME", "/h");
    EXPECT_EQ(user_cache_folder(), "/x/nibble");
  }
  {
    const Variable xdg("XDG_CACHE_HOME", ""), home("HOME", "/h");
    EXPECT_EQ(user_cache_folder(), "/h/.cache/nibble") << "an empty value says nothing";
  }
  const Variable xdg("XDG_CACHE_HOME", nullptr), home("HOME", nullptr);
  EXPECT_TRUE(user_cache_folder().empty());
}

}  // namespace
}  // namespace nibble
