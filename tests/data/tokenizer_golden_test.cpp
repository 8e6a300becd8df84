// Ids and texts of the real tokenizers (huggingface/tokenizers, sentencepiece) for 399 texts each, exactly.
//
// Units, through Tokenizer: data/added_tokens data/bpe data/decoder data/normalizer data/pre_tokenizer data/regex data/spm
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "tests/data/fixtures.h"

namespace nibble::data {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

struct Golden {
  json texts = read_golden_json("tokenizers/texts.json");
  json expected;
  explicit Golden(const std::string& name) : expected(read_golden_json("tokenizers/" + name + ".expected.json")) {}

  // check(text, entry) for each text, in order; the count is asserted so that an empty file cannot pass.
  template <class Check>
  void for_each(const Check& check) const {
    ASSERT_EQ(texts.size(), 399u);
    ASSERT_EQ(expected["texts"].size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      SCOPED_TRACE("text " + std::to_string(i) + ": " + texts[i]["text"].dump());
      check(texts[i]["text"].get<std::string>(), expected["texts"][i]);
    }
  }
};

Ids ids_of(const json& entry, const char* key, const char* otherwise) {
  return entry.contains(key) ? entry[key].get<Ids>() : entry[otherwise].get<Ids>();
}

void check_all(const Tokenizer& tokenizer, const std::string& name) {
  const Golden golden(name);
  EXPECT_EQ(tokenizer.vocab_size(), golden.expected["vocab_size"].get<int64_t>());
  const auto token_of = [&](int32_t id) { return id < 0 ? json() : json(tokenizer.token(id)); };
  EXPECT_EQ(token_of(tokenizer.bos_id()), golden.expected["bos"]);
  EXPECT_EQ(token_of(tokenizer.eos_id()), golden.expected["eos"]);
  golden.for_each([&](const std::string& text, const json& entry) {
    const Ids ids = entry["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.encode(text, false), ids);
    EXPECT_EQ(tokenizer.encode(text, true), ids_of(entry, "ids_special", "ids"));
    EXPECT_EQ(tokenizer.encode(text, false, SpecialText::kPlain), ids_of(entry, "ids_plain", "ids"));
    const std::string decoded = entry.value("decoded", text);
    EXPECT_EQ(tokenizer.decode(ids, false), decoded);
    EXPECT_EQ(tokenizer.decode(ids, true), entry.value("decoded_skip", decoded));
    const Encoding traced = tokenizer.encode_with_starts(text, false);
    EXPECT_EQ(traced.ids, ids);
    EXPECT_TRUE(std::is_sorted(traced.starts.begin(), traced.starts.end()));
  });
}

class TokenizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, IdsAndTextsEqualTheOriginals) {
  check_all(Tokenizer::from_folder(golden_path(std::string("tokenizers/") + GetParam())), GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden,
                         testing::Values("gpt2", "llama3", "qwen2", "deepseek", "tekken", "digits", "llama2_legacy",
                                         "mistral_metaspace", "gemma"),
                         [](const auto& kind) { return std::string(kind.param); });

// The golden is transformers' reading of the GGUF file: GPT-2's pattern alone. The file itself says "smollm", which also
// cuts at digits, as SmolLM2's published tokenizer.json does; the two differ where white space stands before a digit.
TEST(TokenizerSmollm2, IdsEqualTheOriginalsWithGpt2Pattern) { check_all(smollm2_tokenizer("gpt-2"), "smollm2"); }

TEST(TokenizerSmollm2, SmollmPatternCutsWhiteSpaceFromDigits) {
  const Tokenizer tokenizer = smollm2_tokenizer("smollm");
  EXPECT_EQ(tokenizer.encode("Hello world! 123", false), (Ids{19556, 905, 17, 216, 33, 34, 35}));
  const Golden golden("smollm2");
  int differing = 0;
  golden.for_each([&](const std::string& text, const json& entry) {
    const bool equal = tokenizer.encode(text, false) == entry["ids"].get<Ids>();
    differing += !equal;
    if (text.find_first_of("0123456789") == std::string::npos && text.find_first_not_of(' ') != std::string::npos) {
      for (const char c : text) {
        if (static_cast<unsigned char>(c) >= 0x80) return;  // other scripts have digits too
      }
      EXPECT_TRUE(equal);
    }
  });
  EXPECT_LE(differing, 10);
}

TEST(TokenizerSentencePiece, IdsEqualTheOriginals) {
  const Tokenizer tokenizer = Tokenizer::from_folder(golden_path("tokenizers/llama2_sp"));
  EXPECT_EQ(tokenizer.vocab_size(), 32000);
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.unk_id(), 0);
  const Golden golden("llama2_sp");
  golden.for_each([&](const std::string& text, const json& entry) {
    const Ids ids = entry["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.encode(text, false, SpecialText::kPlain), ids);
    Ids with_bos = {1};
    with_bos.insert(with_bos.end(), ids.begin(), ids.end());
    EXPECT_EQ(tokenizer.encode(text, true, SpecialText::kPlain), with_bos);
    EXPECT_EQ(tokenizer.encode(text, false), ids_of(entry, "fast_legacy", "ids"));
    EXPECT_EQ(tokenizer.decode(ids, true), entry.value("decoded", text));
    EXPECT_EQ(tokenizer.decode(ids_of(entry, "fast_legacy", "ids"), false), entry.value("fast_legacy_decoded", text));
  });
}

}  // namespace
}  // namespace nibble::data
