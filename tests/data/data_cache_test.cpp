// Prepared data that are kept: reused, made again where they cannot be trusted, by several processes at once, or not kept at all.
//
// Units: data/data_cache data/load_dataset data/data_key
#include "data/data_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "core/error.h"
#include "data/data_key.h"
#include "data/load_dataset.h"
#include "tests/data/fixtures.h"
#include "tests/support/temporary_folder.h"

namespace nibble::data {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using test::put_file;
using test::TemporaryFolder;

const Tokenizer& smollm2() {
  static const Tokenizer tokenizer = smollm2_tokenizer();
  return tokenizer;
}

class DataCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    put_rows(30);
    options_.files = {folder_ / "rows.jsonl"};
    options_.max_length = 64;
    cache_.keep = true;
    cache_.folder = folder_ / "cache";
    cache_.say = [this](const std::string& line) { said_.push_back(line); };
  }
  void put_rows(int rows, const char* word = "word") const {
    std::string text;
    for (int i = 0; i < rows; ++i) text += fmt_row(i, word);
    put_file(folder_ / "rows.jsonl", text);
  }
  static std::string fmt_row(int i, const char* word) { return "{\"text\": \"" + std::string(word) + " " + std::to_string(i) + "\"}\n"; }

  // Loads, and returns what was said.
  std::string load() {
    said_.clear();
    dataset_ = load_dataset(options_, smollm2(), cache_);
    std::string all;
    for (const std::string& line : said_) all += line + "\n";
    return all;
  }
  std::vector<fs::path> kept() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder_ / "cache")) {
      if (entry.path().extension() == ".tokens") files.push_back(entry.path());
    }
    return files;
  }
  static bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

  TemporaryFolder folder_;
  DataOptions options_;
  CacheOptions cache_;
  std::vector<std::string> said_;
  Dataset dataset_;
};

TEST_F(DataCacheTest, IsMadeOnceAndTakenAfterwards) {
  EXPECT_TRUE(has(load(), "prepared in ")) << "made";
  const Dataset first = dataset_;
  ASSERT_EQ(kept().size(), 1u);
  const std::string again = load();
  EXPECT_EQ(again, "data: prepared before, taken from " + kept()[0].string() + "\n");
  ASSERT_EQ(dataset_.documents(), 30);
  for (int64_t d = 0; d < 30; ++d) EXPECT_EQ(dataset_.sample(d).labels, first.sample(d).labels);
  EXPECT_EQ(dataset_.stats.hash, first.stats.hash);
  EXPECT_EQ(dataset_.stats.examples, 30);
  EXPECT_EQ(dataset_.stats.tokens, first.stats.tokens);
  EXPECT_EQ(dataset_.place(3), (folder_ / "rows.jsonl").string() + ":4");
}

TEST_F(DataCacheTest, EveryOptionThatMattersMakesAnother) {
  load();
  size_t files = 1;
  const auto changes = [&](auto change) {
    change();
    EXPECT_TRUE(has(load(), "prepared in ")) << files;
    EXPECT_EQ(kept().size(), ++files);
  };
  changes([&] { options_.max_length = 65; });
  changes([&] { options_.packing = false; });
  changes([&] {
    options_.packing = true;
    options_.packing_strategy = PackingStrategy::kBfd;
  });
  changes([&] { options_.truncation = Truncation::kDrop; });
  changes([&] { options_.max_bad_rows = 1; });
  changes([&] { options_.format = DatasetFormat::kText; });
  changes([&] { options_.assistant_only_loss = false; });
  changes([&] { options_.weights = {2}; });
  changes([&] { options_.validation_split_ratio = 0.1; });
  changes([&] { options_.seed = 7; });  // of the split
  changes([&] { put_rows(30, "other"); });
  EXPECT_TRUE(has(load(), "prepared before"));
  options_.threads = 3;
  EXPECT_TRUE(has(load(), "prepared before")) << "threads change nothing";
  options_.validation_split_ratio = 0;
  load();
  options_.seed = 8;
  EXPECT_TRUE(has(load(), "prepared before")) << "nothing is drawn";
}

TEST_F(DataCacheTest, FollowsTheContentNotTheNameOrTheTime) {
  load();
  fs::rename(folder_ / "rows.jsonl", folder_ / "moved.jsonl");
  options_.files = {folder_ / "moved.jsonl"};
  EXPECT_TRUE(has(load(), "prepared before"));
  EXPECT_EQ(dataset_.place(0), (folder_ / "moved.jsonl").string() + ":1");
  ::usleep(130'000);
  fs::last_write_time(folder_ / "moved.jsonl", fs::file_time_type::clock::now());
  EXPECT_TRUE(has(load(), "prepared before"));
}

TEST_F(DataCacheTest, NotesOfHashesDoNotHideAChange) {
  ::usleep(130'000);
  load();
  load();  // by the note
  const auto written = fs::last_write_time(folder_ / "rows.jsonl");
  std::string text = file_bytes(folder_ / "rows.jsonl");
  text[10] = 'W';  // as long as before
  put_file(folder_ / "rows.jsonl", text);
  fs::last_write_time(folder_ / "rows.jsonl", written);
  ::usleep(130'000);
  EXPECT_TRUE(has(load(), "prepared in "));
  const auto hashes = data_file_hashes(options_.files, folder_ / "cache");
  EXPECT_EQ(hashes, data_file_hashes(options_.files, {})) << "with notes and without";
}

TEST_F(DataCacheTest, DamagedOneIsMadeAgainWithOneLine) {
  load();
  const fs::path file = kept()[0];
  const std::string good = file_bytes(file);
  for (const size_t at : {size_t{3}, size_t{70}, good.size() / 2, good.size() - 3}) {
    std::string bytes = good;
    bytes[at] ^= 0x40;
    fs::remove(file);
    put_file(file, bytes);
    const std::string said = load();
    EXPECT_TRUE(has(said, "cannot be used, so they are made again")) << said;
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 2) << said;
    EXPECT_EQ(dataset_.documents(), 30);
    EXPECT_EQ(file_bytes(file), good);
  }
  put_file(file, good.substr(0, good.size() / 3));
  EXPECT_TRUE(has(load(), "made again"));
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_THROW(load(), IoError) << "a folder in its place cannot be replaced, and the folder was named";
}

TEST_F(DataCacheTest, SeveralAtOnceMakeItOnceAndAgree) {
  std::vector<std::thread> threads;
  std::vector<int64_t> tokens(6, 0);
  std::vector<int> made(6, 0);
  smollm2();
  for (size_t i = 0; i < tokens.size(); ++i) {
    threads.emplace_back([&, i] {
      CacheOptions cache = cache_;
      cache.say = [&made, i](const std::string& line) { made[i] += line.find("prepared in") != std::string::npos; };
      tokens[i] = load_dataset(options_, smollm2(), cache).stats.tokens;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int64_t count : tokens) EXPECT_EQ(count, tokens[0]);
  EXPECT_EQ(std::count(made.begin(), made.end(), 1), 1);
  EXPECT_EQ(kept().size(), 1u);
  for (const auto& entry : fs::directory_iterator(folder_ / "cache")) EXPECT_FALSE(has(entry.path().filename().string(), ".partial"));
}

TEST_F(DataCacheTest, NothingIsLeftWhereItFails) {
  put_file(folder_ / "rows.jsonl", "{\"text\": \"fine\"}\n{\"text\": 1}\n");
  EXPECT_THROW(load(), DataError);
  for (const auto& entry : fs::directory_iterator(folder_ / "cache")) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(name.ends_with(".lock") || name.ends_with(".hash")) << name;
  }
  put_rows(30);
  struct Stop {};
  cache_.each = [] { throw Stop(); };
  EXPECT_THROW(load(), Stop);
  EXPECT_TRUE(kept().empty());
}

TEST_F(DataCacheTest, WithoutAFolderDataAreInAFileWithoutAName) {
  cache_.keep = false;
  cache_.temporary = {folder_ / "not there", folder_.path()};
  EXPECT_EQ(load(), "");
  EXPECT_EQ(dataset_.documents(), 30);
  EXPECT_FALSE(fs::exists(folder_ / "cache"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 1) << "only the rows";
  const Dataset held = std::exchange(dataset_, Dataset());
  EXPECT_EQ(held.ids(29).size(), held.sample(29).ids.size()) << "a copy keeps the file there";
}

TEST_F(DataCacheTest, AUsersFolderThatCannotBeUsedIsDoneWithout) {
  const char* before = std::getenv("XDG_CACHE_HOME");
  const std::string restore = before == nullptr ? "" : before;
  put_file(folder_ / "a file", "");
  ::setenv("XDG_CACHE_HOME", (folder_ / "a file").c_str(), 1);
  cache_.folder.clear();
  const std::string said = load();
  EXPECT_TRUE(has(said, "data: not kept for later runs: ")) << said;
  EXPECT_EQ(dataset_.documents(), 30);
  ::setenv("XDG_CACHE_HOME", folder_.path().c_str(), 1);
  EXPECT_TRUE(has(load(), (folder_ / "nibble/data").c_str()));
  before == nullptr ? ::unsetenv("XDG_CACHE_HOME") : ::setenv("XDG_CACHE_HOME", restore.c_str(), 1);
  // One that was named has to be usable.
  cache_.folder = folder_ / "a file" / "cache";
  EXPECT_THROW(load(), IoError);
}

TEST_F(DataCacheTest, WhatNobodyUsedForAMonthGoesFromTheUsersFolder) {
  const char* before = std::getenv("XDG_CACHE_HOME");
  const std::string restore = before == nullptr ? "" : before;
  ::setenv("XDG_CACHE_HOME", folder_.path().c_str(), 1);
  cache_.folder.clear();
  const fs::path data = folder_ / "nibble/data";
  const auto old = fs::file_time_type::clock::now() - std::chrono::hours(24 * 40);
  for (const char* name : {"unused.tokens", "used.tokens", "used.tokens.verified", "a.hash", "other.txt"}) {
    put_file(data / name, "x");
    if (std::string(name) != "used.tokens.verified") fs::last_write_time(data / name, old);
  }
  load();
  EXPECT_FALSE(fs::exists(data / "unused.tokens"));
  EXPECT_FALSE(fs::exists(data / "a.hash"));
  EXPECT_TRUE(fs::exists(data / "used.tokens"));
  EXPECT_TRUE(fs::exists(data / "other.txt")) << "not ours";
  before == nullptr ? ::unsetenv("XDG_CACHE_HOME") : ::setenv("XDG_CACHE_HOME", restore.c_str(), 1);
}

}  // namespace
}  // namespace nibble::data
