// A configuration with any bytes changed, lost or repeated is read or refused with a ConfigError, never anything else.
#include <gtest/gtest.h>

#include "core/rng.h"
#include "schema/print.h"
#include "tests/schema/fixtures.h"

namespace nibble::schema {
namespace {

constexpr int64_t kTrials = 1000;

std::string damaged(std::string text, int64_t trial) {
  static const std::string pieces[] = {"\"", "'", "[", "]", "{", "}", ": ", "\n", "- ", "&a ", "*a", "!!x ", "? ", "#", "|", ">", "---\n", "\t", "\x80", "%", "@", "`", ","};
  const auto random = [&](int64_t draw, int64_t limit) {
    return static_cast<int64_t>(random_below({static_cast<uint64_t>(trial), RngPurpose::kTest, 0}, draw, limit));
  };
  const int64_t count = random(0, 4) + 1;
  for (int64_t i = 0; i < count && !text.empty(); ++i) {
    const int64_t at = random(10 * i + 1, static_cast<int64_t>(text.size()));
    switch (random(10 * i + 2, 4)) {
      case 0: text[at] = static_cast<char>(random(10 * i + 3, 256)); break;
      case 1: text.erase(at, random(10 * i + 3, 40)); break;
      case 2: text.insert(at, pieces[random(10 * i + 3, std::size(pieces))]); break;
      case 3: text.insert(at, text.substr(0, at)); break;
    }
  }
  return text;
}

TEST(LoadRunConfig, ReadsOrRefusesAnyDamage) {
  const Folder folder;
  LoadedConfig loaded;
  loaded.config.train_file = {"/a", "/b \"c\""};
  loaded.config.lora_target_modules = {"q_proj", "v_proj"};
  const std::string whole = effective_yaml(loaded);
  int64_t refused = 0;
  for (int64_t trial = 0; trial < kTrials; ++trial) {
    const std::string text = damaged(whole, trial);
    try {
      load_run_config(folder.write(text), {}, Needs::kNothing);
    } catch (const ConfigError& e) {
      ++refused;
      EXPECT_FALSE(e.message().empty());
      EXPECT_EQ(e.place().file, folder / "run.yaml") << e.what();
    }
  }
  EXPECT_GT(refused, kTrials / 4);
  EXPECT_LT(refused, kTrials);
}

}  // namespace
}  // namespace nibble::schema
