// Units: data/spm_check, data/spm
#include "data/spm_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "core/error.h"
#include "data/spm.h"
#include "data/tokenizer.h"
#include "tests/support/damage.h"
#include "tests/support/golden_path.h"
#include "tests/support/temporary_folder.h"

namespace nibble::data {
namespace {

using test::file_bytes;
using test::TemporaryFolder;
using ::testing::HasSubstr;

std::string refusal_of(const std::string& model) {
  try {
    check_sentencepiece_model(model, "tokenizer.model");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "accepted";
}

std::string seed(const std::string& name) { return file_bytes(std::string(NIBBLE_SOURCE_DIR) + "/tests/fuzz/corpus/sentencepiece/" + name); }

std::string fixed32(float value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

TEST(SentencePieceCheck, AcceptsWhatTheLibraryMakes) {
  EXPECT_EQ(refusal_of(file_bytes(test::golden_path("tokenizers/llama2_sp/tokenizer.model"))), "accepted");
  for (const char* name : {"unigram", "bpe", "bpe_bytes", "word", "char", "character_map"}) EXPECT_EQ(refusal_of(seed(name)), "accepted") << name;
  EXPECT_EQ(refusal_of(write_sentencepiece_model({{"<unk>", 0, PieceType::kUnknown}, {"a", -1, PieceType::kNormal}}, true)), "accepted");
}

TEST(SentencePieceCheck, RefusesATrieThatLeadsOut) {
  const std::string model = seed("character_map");
  // The map: 1024 as the trie's bytes, its 256 units, and the text "a" that its one value names.
  const size_t map = model.find(std::string("\x00\x04\x00\x00", 4));
  ASSERT_NE(map, std::string::npos);
  const auto with = [&](size_t at, uint32_t value) {
    std::string changed = model;
    std::memcpy(changed.data() + map + at, &value, sizeof value);
    return refusal_of(changed);
  };
  EXPECT_EQ(with(0, 1024), "accepted");
  for (const uint32_t trie_bytes : {0u, 1020u, 1028u, 2048u, 0xFFFFFC00u}) EXPECT_THAT(with(0, trie_bytes), HasSubstr("has a trie of"));
  const auto unit = [](size_t i) { return 4 + 4 * i; };
  EXPECT_THAT(with(unit(0), 0x7FFFFC00), HasSubstr("leads outside of itself"));
  EXPECT_THAT(with(unit(0), 0x80040000), HasSubstr("leads outside of itself"));
  EXPECT_THAT(with(unit(0x41), 1u << 10 | 1u << 9), HasSubstr("leads outside of itself"));  // times 256
  EXPECT_THAT(with(unit(5), 0x80000002), HasSubstr("names a text that is not there"));
  EXPECT_EQ(with(unit(5), 0x80000001), "accepted");
  std::string unended = model;
  unended[map + 4 + 1024 + 1] = 'b';
  EXPECT_THAT(refusal_of(unended), HasSubstr("has no end"));
}

TEST(SentencePieceCheck, RefusesScoresAndPiecesThatAreNone) {
  std::string model = seed("unigram");
  const size_t score = model.find(fixed32(-3.0f));
  ASSERT_NE(score, std::string::npos);
  EXPECT_EQ(refusal_of(model), "accepted");
  model.replace(score, 4, fixed32(std::numeric_limits<float>::quiet_NaN()));
  EXPECT_THAT(refusal_of(model), HasSubstr("score is not finite"));
  EXPECT_THAT(refusal_of(model), HasSubstr("tokenizer.model (byte " + std::to_string(score)));
  model = seed("unigram");
  model[model.find("the")] = '\0';
  EXPECT_THAT(refusal_of(model), HasSubstr("a piece holds a NUL"));
}

TEST(SentencePieceCheck, BoundsLengthsByWhatIsLeft) {
  EXPECT_THAT(refusal_of("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), HasSubstr("a field has 18446744073709551615 bytes"));
  EXPECT_THAT(refusal_of("\x0A\x05" "ab"), HasSubstr("a field has 5 bytes, of which 2 are left"));
  EXPECT_THAT(refusal_of(std::string(11, '\xFF')), HasSubstr("more than 64 bits"));
  EXPECT_THAT(refusal_of("\x0B"), HasSubstr("unknown wire type 3"));
}

// Through the tokenizer: what the check lets through, the library must load or refuse, and use without a fault.
TEST(SentencePieceModel, SurvivesEveryDamage) {
  const TemporaryFolder folder(test::in_memory());
  for (const char* name : {"unigram", "character_map"}) {
    const auto count = test::try_damage(seed(name), [&](const std::string& bytes) {
      test::put_file(folder / "tokenizer.model", bytes);
      const Tokenizer tokenizer = Tokenizer::from_folder(folder.path());
      for (const int32_t id : tokenizer.encode("the tab A", /*add_special_tokens=*/true)) EXPECT_LT(id, tokenizer.vocab_size());
    });
    EXPECT_GT(count.refused, 100) << name;
  }
}

}  // namespace
}  // namespace nibble::data
