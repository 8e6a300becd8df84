// What a statement throws, by class and text.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace nibble::test {

// "FormatError: file (byte 8): message", or "nothing".
template <typename Statement>
std::string thrown(Statement statement) {
  try {
    statement();
  } catch (const Error& error) {
    return std::string(error.name()) + ": " + error.what();
  }
  return "nothing";
}

}  // namespace nibble::test

#define EXPECT_ERROR(statement, cls, part)                       \
  do {                                                           \
    const std::string what_ = ::nibble::test::thrown([&] { statement; }); \
    EXPECT_THAT(what_, ::testing::StartsWith(cls ":"));          \
    EXPECT_THAT(what_, ::testing::HasSubstr(part));              \
  } while (false)
