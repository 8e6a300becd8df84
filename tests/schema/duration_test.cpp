#include "schema/duration.h"

#include <gtest/gtest.h>

namespace nibble::schema {
namespace {

int64_t seconds(const char* text) { return parse_duration(text).value_or(Duration{-1}).seconds; }

TEST(Duration, ReadsUnitsAndClocks) {
  EXPECT_EQ(seconds("none"), 0);
  EXPECT_EQ(seconds("45s"), 45);
  EXPECT_EQ(seconds("90m"), 5400);
  EXPECT_EQ(seconds("90min"), 5400);
  EXPECT_EQ(seconds("1.5h"), 5400);
  EXPECT_EQ(seconds("11h30m"), 41400);
  EXPECT_EQ(seconds("2d 3h 4min 5s"), 2 * 86400 + 3 * 3600 + 4 * 60 + 5);
  EXPECT_EQ(seconds("11:30:00"), 41400);
  EXPECT_EQ(seconds("100:00:01"), 360001);
  EXPECT_EQ(seconds("1-00:00:30"), 86430);
}

TEST(Duration, RefusesWhatIsNoLengthOfTime) {
  for (const char* text : {"", "90", "0s", "0:00:00", "-5m", "m", "5 minutes", "30m1h", "1h1h", "1h30", "1:30", "1:60:00", "1:00:60", "1e9d", "4000d",
                           "1-2-00:00:00", "-00:00:10", "1:2:3:4", "12h ago", "1..5h", "99999999999999999999s", ":::", "1h\n"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Duration, TextReadsBackAsTheSameTime) {
  for (const int64_t s : {int64_t{0}, int64_t{1}, int64_t{60}, int64_t{3599}, int64_t{41400}, int64_t{86400}, int64_t{90061}, int64_t{10} * 365 * 86400}) {
    EXPECT_EQ(seconds(duration_text({s}).c_str()), s) << duration_text({s});
  }
  EXPECT_EQ(duration_text({41400}), "11h30m");
  EXPECT_EQ(duration_text({}), "none");
}

}  // namespace
}  // namespace nibble::schema
