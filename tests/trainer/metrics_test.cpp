#include "trainer/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace nibble::trainer {
namespace {
namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

MetricsRow row_of(int64_t step) {
  MetricsRow row;
  row.step = step;
  row.epoch = static_cast<double>(step) / 3.0;
  row.loss = 2.0 / static_cast<double>(step);
  row.grad_norm = 0.1;
  row.learning_rate = 2e-4;
  row.tokens = 1024;
  row.trained_tokens = 700;
  row.tokens_per_s = 800.5;
  row.step_ms = 1279.2;
  row.peak_rss_mib = 512.25;
  return row;
}

class MetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(::testing::TempDir()) / (std::string("nibble_metrics_") + info->name() + ".jsonl");
    fs::remove(path_);
  }
  void TearDown() override { fs::remove(path_); }
  std::string text() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void put(const std::string& content) const { std::ofstream(path_, std::ios::binary | std::ios::trunc) << content; }
  static std::string lines(int64_t from, int64_t to) {
    std::string all;
    for (int64_t step = from; step <= to; ++step) all += metrics_line(row_of(step)) + "\n";
    return all;
  }
  fs::path path_;
};

TEST(MetricsLine, HasTheContractsFields) {
  const auto json = nlohmann::json::parse(metrics_line(row_of(3)));
  for (const char* name : {"step", "loss", "grad_norm", "learning_rate", "tokens", "trained_tokens", "tokens_per_s", "step_ms",
                           "peak_rss_mib", "peak_gpu_mib", "epoch"}) {
    EXPECT_TRUE(json.contains(name)) << name;
  }
  EXPECT_EQ(json.at("step"), 3);
  EXPECT_EQ(json.at("epoch"), 1.0);
  EXPECT_EQ(json.at("tokens"), 1024);
  EXPECT_FALSE(json.contains("eval_loss"));
}

TEST(MetricsLine, ReadsBackBitForBit) {
  MetricsRow row = row_of(7);
  row.eval_loss = 1.0 / 3.0;
  row.loss = std::nextafter(1.0, 2.0);
  const MetricsRow back = parse_metrics_line(metrics_line(row), "m");
  EXPECT_EQ(back.loss, row.loss);
  EXPECT_EQ(back.epoch, row.epoch);
  EXPECT_EQ(back.eval_loss, row.eval_loss);
  EXPECT_EQ(metrics_line(back), metrics_line(row));
}

TEST(MetricsLine, NotANumberIsNullAndNeverZero) {
  MetricsRow row = row_of(1);
  row.loss = std::numeric_limits<double>::quiet_NaN();
  row.grad_norm = std::numeric_limits<double>::infinity();
  row.eval_loss = std::numeric_limits<double>::quiet_NaN();
  const std::string line = metrics_line(row);
  EXPECT_THAT(line, HasSubstr("\"loss\":null,\"grad_norm\":null"));
  EXPECT_THAT(line, HasSubstr("\"eval_loss\":null"));
  const MetricsRow back = parse_metrics_line(line, "m");
  EXPECT_TRUE(std::isnan(back.loss) && std::isnan(back.grad_norm));
  ASSERT_TRUE(back.eval_loss);
  EXPECT_TRUE(std::isnan(*back.eval_loss));
}

TEST_F(MetricsTest, RewindsWhileOpenAndGoesOn) {
  MetricsLog log(path_);
  for (int64_t step = 1; step <= 6; ++step) log.write(row_of(step));
  log.rewind(3, {});
  log.write(row_of(4));
  log.sync();
  EXPECT_EQ(text(), lines(1, 4));
  log.rewind(5, {row_of(5)});
  log.write(row_of(6));
  EXPECT_EQ(text(), lines(1, 6));
}

TEST(MetricsLine, RefusesWhatIsNotOurs) {
  for (const char* line : {"", "{", "[]", "3", "{}", "{\"step\": \"3\"}", "{\"step\": -3}", "{\"step\": 1.5}"}) {
    EXPECT_THROW(parse_metrics_line(line, "m"), FormatError) << line;
  }
}

TEST(MetricsFields, SayWhichAreMeasured) {
  EXPECT_THAT(measured_metrics(), ElementsAre("tokens_per_s", "step_ms", "peak_rss_mib", "peak_gpu_mib", "paged_resident_bytes",
                                              "paged_prefetched_bytes", "paged_evicted_bytes", "cuda_graphs_recorded",
                                              "cuda_graphs_replayed", "cuda_graphs_plain", "save_blocked_ms", "memory"));
}

TEST_F(MetricsTest, LogAppendsLinesAcrossOpenings) {
  { MetricsLog(path_).write(row_of(1)); }
  MetricsLog log(path_);
  log.write(row_of(2));
  log.sync();
  EXPECT_EQ(text(), lines(1, 2));
}

TEST_F(MetricsTest, LogNamesAPathThatCannotBeWritten) {
  EXPECT_THROW(MetricsLog(path_ / "below" / "a_file.jsonl"), IoError);
}

TEST_F(MetricsTest, LogReportsAFileThatCannotGrow) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  MetricsLog log(path_);
  const rlimit small{100, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(log.write(row_of(1)), IoError);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  // What was half written goes when the run is resumed.
  rewind_metrics(path_, 5, {});
  EXPECT_EQ(text(), "");
}

TEST_F(MetricsTest, RewindDropsRowsPastTheStep) {
  put(lines(1, 9));
  rewind_metrics(path_, 4, {});
  EXPECT_EQ(text(), lines(1, 4));
  rewind_metrics(path_, 4, {});
  EXPECT_EQ(text(), lines(1, 4));
  rewind_metrics(path_, 0, {});
  EXPECT_EQ(text(), "");
}

TEST_F(MetricsTest, RewindOfAMissingFileMakesAnEmptyOne) {
  rewind_metrics(path_, 4, {});
  EXPECT_TRUE(fs::exists(path_));
  EXPECT_EQ(text(), "");
}

TEST_F(MetricsTest, RewindDropsALineCutAtAnyByte) {
  const std::string whole = lines(1, 3);
  const size_t third = lines(1, 2).size();
  for (size_t size = third; size < whole.size(); ++size) {
    put(whole.substr(0, size));
    rewind_metrics(path_, 3, {});
    ASSERT_EQ(text(), lines(1, 2)) << size;
  }
}

TEST_F(MetricsTest, RewindDropsLinesThatAreNotOursAndRowsOutOfOrder) {
  put(lines(1, 2) + "garbage\n\n" + lines(2, 2) + lines(1, 1) + "{\"step\": 3}\n" + std::string("\0\xff\n", 3) +
      std::string(100000, '[') + "\n" + lines(3, 4));
  rewind_metrics(path_, 4, {});
  EXPECT_EQ(text(), lines(1, 4));
}

TEST_F(MetricsTest, RewindPutsBackRowsThatTheFileHasLost) {
  const std::vector<MetricsRow> history{row_of(2), row_of(3), row_of(4), row_of(5)};
  put(lines(1, 3));  // the rest was lost in a power cut
  rewind_metrics(path_, 5, history);
  EXPECT_EQ(text(), lines(1, 5));
  put(lines(1, 2) + lines(4, 8));  // a hole, and rows past the checkpoint
  rewind_metrics(path_, 5, history);
  EXPECT_EQ(text(), lines(1, 5));
  fs::remove(path_);
  rewind_metrics(path_, 4, history);
  EXPECT_EQ(text(), lines(2, 4));
}

}  // namespace
}  // namespace nibble::trainer
