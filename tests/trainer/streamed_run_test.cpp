// Units: trainer/load_base
// Runs whose base is streamed from its packed cache, against runs whose base is in memory: the same bits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/run_binary.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::RunWorkshop;
using testing::HasSubstr;

class StreamedRun : public testing::Test {
 protected:
  std::vector<std::string> with(std::vector<std::string> set, bool streamed) const {
    set.push_back("packed_cache_dir=" + shop_("cache"));
    if (streamed) set.push_back("base_residency=streamed");
    return set;
  }
  // The losses, gradient norms and evaluation losses of a run, as written.
  std::vector<std::string> curve(const std::string& run) const {
    std::vector<std::string> rows;
    std::istringstream lines(test::file_bytes(shop_ / run / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const auto row = nlohmann::json::parse(line);
      rows.push_back(row.at("loss").dump() + " " + row.at("grad_norm").dump() + " " + row.value("eval_loss", nlohmann::json()).dump());
    }
    return rows;
  }
  std::string adapter(const std::string& run) const { return test::file_bytes(shop_ / run / "checkpoint-8" / "adapter_model.safetensors"); }
  int64_t cache_files() const {
    return fs::exists(shop_ / "cache") ? std::count_if(fs::directory_iterator(shop_ / "cache"), {}, [](const auto& e) { return e.path().extension() == ".safetensors"; }) : 0;
  }

  RunWorkshop shop_;
};

TEST_F(StreamedRun, TrainsAndEvaluatesToTheSameBits) {
  const std::vector<std::string> set{"validation_split_ratio=0.2", "eval_strategy=steps", "eval_steps=3"};
  const auto resident = shop_.train("resident", with(set, false));
  ASSERT_EQ(resident.exit_code, 0) << resident.err;
  EXPECT_EQ(cache_files(), 0) << "a resident run makes no cache by itself";
  for (const char* recompute : {"none", "mlp", "layer"}) {
    auto options = with(set, true);
    options.push_back(std::string("recompute=") + recompute);
    const std::string run = std::string("streamed-") + recompute;
    const auto streamed = shop_.train(run, options);
    ASSERT_EQ(streamed.exit_code, 0) << streamed.err;
    EXPECT_THAT(streamed.err, HasSubstr("the base is streamed from"));
    EXPECT_EQ(curve(run), curve("resident"));
    EXPECT_EQ(adapter(run), adapter("resident"));
  }
  EXPECT_EQ(cache_files(), 1);
  // A resident run takes the cache that is there now.
  const auto mapped = shop_.train("mapped", with(set, false));
  ASSERT_EQ(mapped.exit_code, 0) << mapped.err;
  EXPECT_EQ(adapter("mapped"), adapter("resident"));
}

TEST_F(StreamedRun, IsScoredAndSpeaksAsTheResidentOne) {
  ASSERT_EQ(shop_.train("run", with({}, false)).exit_code, 0);
  test::put_file(shop_ / "text.txt", "It was the best of times, it was the worst of times.");
  const std::vector<std::string> streamed{"--set", "base_residency=streamed", "--set", "packed_cache_dir=" + shop_("cache"), "--json"};
  const auto both = [&](std::vector<std::string> arguments) {
    auto resident = arguments;
    resident.push_back("--json");
    arguments.insert(arguments.end(), streamed.begin(), streamed.end());
    const auto a = shop_.nibble(resident), b = shop_.nibble(arguments);
    EXPECT_EQ(a.exit_code, 0) << a.err;
    EXPECT_EQ(b.exit_code, 0) << b.err;
    return std::pair(a.json(), b.json());
  };
  const auto [score, streamed_score] = both({"eval", shop_("run"), "--text", shop_("text.txt")});
  EXPECT_EQ(score.at("nll"), streamed_score.at("nll"));
  const auto [text, streamed_text] = both({"generate", shop_("run"), "--prompt", "It was", "--max-new-tokens", "6"});
  EXPECT_EQ(text.at("ids"), streamed_text.at("ids"));
  EXPECT_EQ(cache_files(), 1);
}

TEST_F(StreamedRun, ResumesStreamedWhatBeganResident) {
  ASSERT_EQ(shop_.train("whole", with({}, false)).exit_code, 0);
  ASSERT_EQ(shop_.train("half", with({"max_steps=8", "save_steps=4"}, false)).exit_code, 0);
  const auto resumed = shop_.nibble({"resume", shop_("half"), "--from", "checkpoint-4", "--json", "--set", "base_residency=streamed", "--set", "packed_cache_dir=" + shop_("cache")});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(adapter("half"), adapter("whole"));
}

TEST_F(StreamedRun, ADamagedCacheIsMadeAgain) {
  ASSERT_EQ(shop_.train("first", with({"max_steps=8"}, true)).exit_code, 0);
  for (const auto& entry : fs::directory_iterator(shop_ / "cache")) {
    if (entry.path().extension() != ".safetensors") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(fs::file_size(entry.path()) / 2));
    file.put('\x5a').put('\xa5').put('\x5a').put('\xa5');
  }
  const auto again = shop_.train("second", with({"max_steps=8"}, true));
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("cannot be used"));
  EXPECT_THAT(again.err, HasSubstr("it is made again"));
  EXPECT_EQ(adapter("second"), adapter("first"));
}

TEST_F(StreamedRun, SaysWhatItCannotDo) {
  const auto off = shop_.train("run", with({"packed_cache=false"}, true));
  EXPECT_EQ(off.exit_code, 2);
  EXPECT_THAT(off.error().at("message"), HasSubstr("packed_cache"));
  test::put_file(shop_ / "cache", "a file where the folder should be");
  const auto blocked = shop_.train("run", with({}, true));
  EXPECT_EQ(blocked.exit_code, 1);
  EXPECT_THAT(blocked.error().at("message"), HasSubstr("packed_cache_dir"));
  // A run that is not streamed does without.
  const auto resident = shop_.train("resident", with({"packed_cache=true"}, false));
  EXPECT_EQ(resident.exit_code, 0) << resident.err;
  EXPECT_THAT(resident.err, HasSubstr("no packed cache"));
}

TEST_F(StreamedRun, TheHeadInFourBitsTrainsTheSameStreamedAndResident) {
  const auto resident = shop_.train("resident", with({"lm_head_load_in_4bit=true"}, false));
  ASSERT_EQ(resident.exit_code, 0) << resident.err;
  const auto streamed = shop_.train("streamed", with({"lm_head_load_in_4bit=true"}, true));
  ASSERT_EQ(streamed.exit_code, 0) << streamed.err;
  EXPECT_EQ(curve("streamed"), curve("resident"));
  ASSERT_EQ(shop_.train("dense", with({}, false)).exit_code, 0);
  EXPECT_NE(curve("dense"), curve("resident")) << "it is the one saving that changes numbers";
}

}  // namespace
}  // namespace nibble::trainer
