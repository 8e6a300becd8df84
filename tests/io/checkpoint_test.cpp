#include "io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "core/file.h"
#include "io/checkpoint_manifest.h"

namespace nibble::io {
namespace {
namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void write(const fs::path& path, std::string_view text) {
  FileWriter writer(path);
  writer.write(text);
  writer.close();
}

std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void overwrite(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    run_ = fs::path(::testing::TempDir()) / (std::string("nibble_checkpoint_") + info->name());
    fs::remove_all(run_);
    fs::create_directories(run_);
  }
  void TearDown() override { fs::remove_all(run_); }

  static CheckpointContent content(const std::string& mark = "", size_t optimizer_bytes = 40) {
    return {"{\"global_step\": 1}\n", "seed: 1\n",
            [mark](const fs::path& folder) {
              write(folder / "adapter_config.json", "{\"r\": 8}");
              write(folder / "adapter_model.safetensors", "weights " + mark);
            },
            [optimizer_bytes](const fs::path& folder) {
              write(folder / kOptimizerFile, std::string(optimizer_bytes, 'm'));
            }};
  }
  fs::path save(int64_t step, const std::string& mark = "") { return save_checkpoint(run_, step, content(mark)); }

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(run_)) all.push_back(entry.path().filename().string());
    std::sort(all.begin(), all.end());
    return all;
  }

  fs::path run_;
};

TEST(CheckpointName, IsReadBackOnlyInItsOwnSpelling) {
  EXPECT_EQ(checkpoint_name(120), "checkpoint-120");
  EXPECT_EQ(checkpoint_step("checkpoint-120"), 120);
  EXPECT_EQ(checkpoint_step("checkpoint-0"), 0);
  for (const char* name : {"checkpoint-", "checkpoint-007", "checkpoint--1", "checkpoint-+1", "checkpoint-1x", "checkpoint-1 ",
                           "checkpoint", "Checkpoint-1", "checkpoint-99999999999999999999", ".checkpoint-1.partial", ""}) {
    EXPECT_EQ(checkpoint_step(name), std::nullopt) << name;
  }
}

TEST(Manifest, RendersAndParsesBack) {
  Manifest manifest;
  manifest.step = 7;
  manifest.files["b.bin"] = {5, std::string(32, 'a')};
  manifest.files["a \"quoted\" \xc3\xa4.bin"] = {0, std::string(32, '0')};
  const std::string text = render_manifest(manifest);
  const Manifest back = parse_manifest(text, "M");
  EXPECT_EQ(back.step, 7);
  ASSERT_EQ(back.files.size(), 2u);
  EXPECT_EQ(back.files.at("b.bin").size, 5);
  EXPECT_EQ(render_manifest(back), text);
}

TEST(Manifest, RefusesNamesThatLeadOutOfTheFolder) {
  for (const char* name : {"", ".", "..", "/etc/passwd", "../x", "a/b", "a\\b", "a\nb"}) {
    EXPECT_FALSE(is_plain_file_name(name)) << name;
    Manifest manifest;
    manifest.files[name] = {1, std::string(32, 'a')};
    EXPECT_THROW(parse_manifest(render_manifest(manifest), "M"), FormatError) << name;
  }
  EXPECT_FALSE(is_plain_file_name(std::string_view("a\0b", 3)));
  EXPECT_TRUE(is_plain_file_name("..a"));
}

TEST(Manifest, RefusesOtherShapes) {
  for (const char* text :
       {"", "{", "[]", "null", "{}", "{\"format_version\": 1}", "{\"format_version\": \"1\"}", "{\"format_version\": -1}",
        "{\"format_version\": 1, \"step\": 1, \"files\": [], \"checksum\": \"\"}",
        "{\"format_version\": 1, \"step\": 1.5, \"files\": {}, \"checksum\": \"\"}",
        "{\"format_version\": 1, \"step\": 18446744073709551615, \"files\": {}, \"checksum\": \"\"}",
        "{\"format_version\": 1, \"step\": 1, \"files\": {\"a\": 3}, \"checksum\": \"\"}",
        "{\"format_version\": 1, \"step\": 1, \"files\": {\"a\": {\"size\": 1, \"xxh3_128\": \"zz\"}}, \"checksum\": \"\"}"}) {
    EXPECT_THROW(parse_manifest(text, "M"), FormatError) << text;
  }
  EXPECT_THROW(parse_manifest(std::string(100000, '['), "M"), FormatError);
}

TEST(Manifest, NamesANewerFormat) {
  try {
    parse_manifest("{\"format_version\": 2}", "M");
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_THAT(error.message(), HasSubstr("newer nibble"));
  }
}

TEST_F(CheckpointTest, SavesAWholeFolderAndNothingElse) {
  const fs::path path = save(10);
  EXPECT_EQ(path, run_ / "checkpoint-10");
  EXPECT_THAT(names(), ElementsAre("checkpoint-10"));
  EXPECT_EQ(slurp(path / "trainer_state.json"), "{\"global_step\": 1}\n");
  EXPECT_EQ(slurp(path / "config.yaml"), "seed: 1\n");
  const Manifest manifest = parse_manifest(slurp(path / "MANIFEST.json"), "M");
  EXPECT_EQ(manifest.step, 10);
  EXPECT_EQ(manifest.files.size(), 5u);
  EXPECT_EQ(manifest.files.at("adapter_model.safetensors").size, 8);
  const CheckpointInfo info = check_checkpoint(path, CheckDepth::kChecksums);
  EXPECT_EQ(info.state, CheckpointState::kGood);
  EXPECT_EQ(info.step, 10);
  EXPECT_EQ(info.reason, "");
}

TEST_F(CheckpointTest, ReplacesOneOfTheSameStep) {
  save(10, "old");
  const fs::path path = save(10, "new");
  EXPECT_EQ(slurp(path / "adapter_model.safetensors"), "weights new");
  EXPECT_EQ(check_checkpoint(path, CheckDepth::kChecksums).state, CheckpointState::kGood);
  EXPECT_THAT(names(), ElementsAre("checkpoint-10"));
}

TEST_F(CheckpointTest, AnyFlippedBitIsDamage) {
  const fs::path path = save(3);
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string whole = slurp(entry.path());
    for (size_t i = 0; i < whole.size(); ++i) {
      std::string flipped = whole;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
      overwrite(entry.path(), flipped);
      const CheckpointInfo info = check_checkpoint(path, CheckDepth::kChecksums);
      ASSERT_EQ(info.state, CheckpointState::kDamaged) << entry.path() << " byte " << i;
      ASSERT_NE(info.reason, "");
    }
    overwrite(entry.path(), whole);
  }
  EXPECT_EQ(check_checkpoint(path, CheckDepth::kChecksums).state, CheckpointState::kGood);
}

TEST_F(CheckpointTest, AnyCutOrGrownFileIsDamageWithoutReadingIt) {
  const fs::path path = save(3);
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string whole = slurp(entry.path());
    for (size_t size = 0; size < whole.size(); ++size) {
      overwrite(entry.path(), whole.substr(0, size));
      ASSERT_EQ(check_checkpoint(path, CheckDepth::kSizes).state, CheckpointState::kDamaged) << entry.path() << " " << size;
    }
    overwrite(entry.path(), whole + "x");
    EXPECT_EQ(check_checkpoint(path, CheckDepth::kSizes).state, CheckpointState::kDamaged) << entry.path();
    overwrite(entry.path(), whole);
  }
}

TEST_F(CheckpointTest, AMissingFileIsIncompleteAndNamed) {
  for (const char* name : {"MANIFEST.json", "optimizer.safetensors", "adapter_config.json", "trainer_state.json"}) {
    const fs::path path = save(3);
    fs::remove(path / name);
    const CheckpointInfo info = check_checkpoint(path, CheckDepth::kSizes);
    EXPECT_EQ(info.state, CheckpointState::kIncomplete);
    EXPECT_THAT(info.reason, HasSubstr(name));
  }
}

TEST_F(CheckpointTest, AFolderInAFilesPlaceIsDamage) {
  const fs::path path = save(3);
  fs::remove(path / "config.yaml");
  fs::create_directory(path / "config.yaml");
  EXPECT_EQ(check_checkpoint(path, CheckDepth::kChecksums).state, CheckpointState::kDamaged);
  fs::remove_all(path / "MANIFEST.json");
  fs::create_directory(path / "MANIFEST.json");
  EXPECT_EQ(check_checkpoint(path, CheckDepth::kChecksums).state, CheckpointState::kDamaged);
  overwrite(run_ / "checkpoint-4", "a file");
  EXPECT_EQ(check_checkpoint(run_ / "checkpoint-4", CheckDepth::kSizes).state, CheckpointState::kDamaged);
}

TEST_F(CheckpointTest, ARenamedOneIsDamage) {
  fs::rename(save(3), run_ / "checkpoint-30");
  const CheckpointInfo info = check_checkpoint(run_ / "checkpoint-30", CheckDepth::kSizes);
  EXPECT_EQ(info.state, CheckpointState::kDamaged);
  EXPECT_THAT(info.reason, HasSubstr("step 3"));
}

TEST_F(CheckpointTest, FilesThatTheManifestDoesNotListAreTheUsers) {
  const fs::path path = save(3);
  overwrite(path / "README.md", "notes");
  EXPECT_EQ(check_checkpoint(path, CheckDepth::kChecksums).state, CheckpointState::kGood);
}

TEST_F(CheckpointTest, AManifestWithoutARequiredFileIsDamage) {
  const fs::path path = save(3);
  Manifest manifest = parse_manifest(slurp(path / "MANIFEST.json"), "M");
  manifest.files.erase("optimizer.safetensors");
  overwrite(path / "MANIFEST.json", render_manifest(manifest));
  const CheckpointInfo info = check_checkpoint(path, CheckDepth::kSizes);
  EXPECT_EQ(info.state, CheckpointState::kDamaged);
  EXPECT_THAT(info.reason, HasSubstr("optimizer.safetensors"));
}

TEST_F(CheckpointTest, PathsMayBeWrittenInOtherWays) {
  const fs::path path = save(3);
  EXPECT_EQ(check_checkpoint(path / "", CheckDepth::kSizes).state, CheckpointState::kGood);
  EXPECT_EQ(check_checkpoint(path / ".." / "checkpoint-3", CheckDepth::kSizes).state, CheckpointState::kGood);
  EXPECT_EQ(check_checkpoint(run_ / "checkpoint-9", CheckDepth::kSizes).state, CheckpointState::kIncomplete);
  EXPECT_EQ(check_checkpoint(run_, CheckDepth::kSizes).state, CheckpointState::kDamaged);
}

TEST_F(CheckpointTest, ListsByStepNotByName) {
  for (const int64_t step : {100, 9, 20}) save(step);
  fs::remove(run_ / "checkpoint-20" / "MANIFEST.json");
  fs::create_directory(StagedFolder::staging_name(run_ / "checkpoint-110"));
  fs::create_directory(run_ / "checkpoint-best");
  overwrite(run_ / "metrics.jsonl", "");
  std::vector<std::string> lines;
  for (const CheckpointInfo& info : list_checkpoints(run_, CheckDepth::kChecksums)) {
    lines.push_back(std::to_string(info.step) + " " + checkpoint_state_name(info.state));
  }
  EXPECT_THAT(lines, ElementsAre("9 good", "20 incomplete", "100 good", "110 incomplete"));
}

TEST_F(CheckpointTest, ListingAFolderThatIsNotThereIsAnIoError) {
  EXPECT_THROW(list_checkpoints(run_ / "nowhere", CheckDepth::kSizes), IoError);
  EXPECT_THROW(newest_good_checkpoint(run_ / "nowhere"), IoError);
}

TEST_F(CheckpointTest, NewestGoodSkipsBadOnesAndSaysWhy) {
  for (const int64_t step : {5, 10, 15, 20}) save(step);
  overwrite(run_ / "checkpoint-15" / "optimizer.safetensors", std::string(40, 'x'));
  fs::remove(run_ / "checkpoint-20" / "MANIFEST.json");
  const NewestCheckpoint newest = newest_good_checkpoint(run_);
  ASSERT_TRUE(newest.found);
  EXPECT_EQ(newest.found->step, 10);
  ASSERT_EQ(newest.skipped.size(), 2u);
  EXPECT_EQ(newest.skipped[0].step, 20);
  EXPECT_EQ(newest.skipped[1].step, 15);
  EXPECT_THAT(newest.skipped[1].reason, HasSubstr("optimizer.safetensors was changed"));
}

TEST_F(CheckpointTest, NewestOfNothingIsNothing) {
  const NewestCheckpoint newest = newest_good_checkpoint(run_);
  EXPECT_FALSE(newest.found);
  EXPECT_THAT(newest.skipped, IsEmpty());
}

TEST_F(CheckpointTest, RotationDeletesTheOldestFirst) {
  for (const int64_t step : {100, 9, 20, 30}) save(step);
  EXPECT_THAT(rotate_checkpoints(run_, 2, run_ / "checkpoint-100", {}),
              ElementsAre(run_ / "checkpoint-9", run_ / "checkpoint-20"));
  EXPECT_THAT(names(), ElementsAre("checkpoint-100", "checkpoint-30"));
  EXPECT_THAT(rotate_checkpoints(run_, 2, run_ / "checkpoint-100", {}), IsEmpty());
  EXPECT_THAT(rotate_checkpoints(run_, 0, run_ / "checkpoint-100", {}), IsEmpty());
}

TEST_F(CheckpointTest, RotationKeepsTheNewOneTheBestOneAndTheUsersOwn) {
  for (const int64_t step : {10, 20, 30, 40, 50}) save(step);
  fs::remove(run_ / "checkpoint-20" / "MANIFEST.json");
  fs::create_directory(run_ / "checkpoint-old");
  // Step 15 was saved just now, by a run that went back to step 10.
  save(15);
  EXPECT_THAT(rotate_checkpoints(run_, 1, run_ / "checkpoint-15", "checkpoint-40"),
              ElementsAre(run_ / "checkpoint-10", run_ / "checkpoint-30", run_ / "checkpoint-50"));
  EXPECT_THAT(names(), ElementsAre("checkpoint-15", "checkpoint-20", "checkpoint-40", "checkpoint-old"));
}

TEST_F(CheckpointTest, AFailureWhileSavingLeavesEverythingAsItWas) {
  save(10, "kept");
  CheckpointContent failing = content();
  failing.write_optimizer = [](const fs::path& folder) {
    write(folder / kOptimizerFile, "half");
    throw IoError("cannot write", (folder / kOptimizerFile).string(), ENOSPC);
  };
  for (const int64_t step : {10, 20}) {
    try {
      save_checkpoint(run_, step, failing);
      FAIL() << "saved";
    } catch (const IoError& error) {
      EXPECT_THAT(error.message(), HasSubstr("No space left on device"));
      EXPECT_THAT(error.message(), HasSubstr("earlier checkpoints are unchanged"));
    }
    EXPECT_THAT(names(), ElementsAre("checkpoint-10"));
    EXPECT_EQ(slurp(run_ / "checkpoint-10" / "adapter_model.safetensors"), "weights kept");
    EXPECT_EQ(check_checkpoint(run_ / "checkpoint-10", CheckDepth::kChecksums).state, CheckpointState::kGood);
  }
}

// The operating system refuses to let a file grow: the same path through the code as a full disk.
TEST_F(CheckpointTest, AFileThatCannotGrowIsAnIoErrorAndLeavesNothing) {
  save(10);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{65536, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(save_checkpoint(run_, 20, content("", 1 << 20)), IoError);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_THAT(names(), ElementsAre("checkpoint-10"));
}

TEST_F(CheckpointTest, AContentWithoutARequiredFileIsOurOwnMistake) {
  CheckpointContent lacking = content();
  lacking.write_optimizer = [](const fs::path&) {};
  EXPECT_THROW(save_checkpoint(run_, 20, lacking), std::logic_error);
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(CheckpointTest, RemovingLeavesNoPartialName) {
  const fs::path path = save(10);
  fs::create_directory(StagedFolder::staging_name(path));  // a leftover in the way
  remove_checkpoint(path);
  EXPECT_THAT(names(), IsEmpty());
  EXPECT_THROW(remove_checkpoint(path), IoError);
}

}  // namespace
}  // namespace nibble::io
