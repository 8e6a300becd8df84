// Every small damage of the files that a Hugging Face folder describes its tokenizer with.
//
// Units: data/hf_folder, data/tokenizer_json
#include <gtest/gtest.h>

#include "data/tokenizer.h"
#include "tests/support/damage.h"
#include "tests/support/temporary_folder.h"

namespace nibble::data {
namespace {

using test::DamageCount;
using test::put_file;
using test::TemporaryFolder;

std::string seed(const std::string& name) { return test::file_bytes(std::string(NIBBLE_SOURCE_DIR) + "/tests/fuzz/corpus/" + name); }

// What is accepted has a place in the vocabulary for every token, encodes, and decodes.
void use(const std::filesystem::path& folder) {
  const Tokenizer tokenizer = Tokenizer::from_folder(folder);
  for (const int32_t id : {tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id(), tokenizer.unk_id()}) EXPECT_LT(id, tokenizer.vocab_size());
  const auto ids = tokenizer.encode("the <tool>tab 12</s>", /*add_special_tokens=*/true);
  for (const int32_t id : ids) EXPECT_LT(id, tokenizer.vocab_size());
  tokenizer.decode(ids, /*skip_special_tokens=*/true);
}

TEST(DamagedTokenizer, TokenizerJson) {
  const TemporaryFolder folder(test::in_memory());
  for (const char* name : {"gpt2", "mistral_metaspace"}) {
    const DamageCount count = test::try_damage(seed(std::string("tokenizer_json/") + name + ".json"), [&](const std::string& text) {
      put_file(folder / "tokenizer.json", text);
      use(folder.path());
    });
    EXPECT_EQ(count.accepted_cuts, 0) << name;
    EXPECT_GT(count.refused, count.tried / 3) << name;
  }
}

class DamagedTokenizerFile : public testing::TestWithParam<std::pair<const char*, const char*>> {};
INSTANTIATE_TEST_SUITE_P(
    Files, DamagedTokenizerFile,
    testing::Values(std::pair("tokenizer_config.json",
                              R"({"add_bos_token":true,"add_eos_token":false,"bos_token":{"content":"<s>","lstrip":false},"eos_token":"</s>",)"
                              R"("pad_token":null,"legacy":false,"added_tokens_decoder":{"40":{"content":"<tool>","special":true,"rstrip":true,)"
                              R"("normalized":false,"single_word":false}},"chat_template":[{"name":"default","template":"{{ bos_token }}"}]})"),
                    std::pair("special_tokens_map.json", R"({"bos_token":"<s>","eos_token":{"content":"</s>","normalized":false},"additional_special_tokens":["<tool>"]})"),
                    std::pair("added_tokens.json", R"({"<tool>":40,"<end>":41})"),
                    std::pair("chat_template.json", R"({"chat_template":"{{ bos_token }}"})")),
    [](const auto& info) { return std::string(info.param.first).substr(0, std::string(info.param.first).find('.')); });

TEST_P(DamagedTokenizerFile, IsRefusedOrUsable) {
  const auto& [file, good] = GetParam();
  for (const bool sentencepiece : {false, true}) {
    const TemporaryFolder folder(test::in_memory());
    put_file(folder / (sentencepiece ? "tokenizer.model" : "tokenizer.json"), seed(sentencepiece ? "sentencepiece/unigram" : "tokenizer_json/gpt2.json"));
    const DamageCount count = test::try_damage(good, [&](const std::string& text) {
      put_file(folder / file, text);
      use(folder.path());
    });
    EXPECT_EQ(count.accepted_cuts, 0);
    EXPECT_GT(count.refused, count.tried / 4);
  }
}

}  // namespace
}  // namespace nibble::data
