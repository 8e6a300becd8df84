#include "trainer/token_pieces.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/utf8.h"
#include "tests/support/golden_path.h"

namespace nibble::trainer {
namespace {

data::Tokenizer golden_tokenizer(const std::string& name) { return data::Tokenizer::from_folder(test::golden_path("tokenizers/" + name)); }

std::vector<std::string> golden_texts() {
  std::vector<std::string> texts;
  std::ifstream file(test::golden_path("tokenizers/texts.json"));
  for (const auto& entry : nlohmann::json::parse(file)) texts.push_back(entry.at("text").get<std::string>());
  return texts;
}

std::string joined(const std::vector<TokenPiece>& pieces) {
  std::string text;
  for (const TokenPiece& piece : pieces) text += piece.text;
  return text;
}

// The decoder of each kind: byte level, byte fallback behind a first space, and Metaspace.
class TokenPieces : public testing::TestWithParam<const char*> {};

TEST_P(TokenPieces, JoinUpToTheDecodedText) {
  const data::Tokenizer tokenizer = golden_tokenizer(GetParam());
  int compared = 0;
  for (const std::string& text : golden_texts()) {
    const auto ids = tokenizer.encode(text, /*add_special_tokens=*/true);
    if (ids.empty()) continue;
    const auto pieces = token_pieces(ids, ids, tokenizer);
    int64_t tokens = 0;
    for (const TokenPiece& piece : pieces) {
      EXPECT_EQ(piece.first, tokens);
      tokens += piece.count;
      EXPECT_FALSE(first_invalid_utf8(piece.text).has_value());
    }
    EXPECT_EQ(tokens, static_cast<int64_t>(ids.size()));
    const std::string whole = tokenizer.decode(ids, /*skip_special_tokens=*/false);
    if (whole.find("\xEF\xBF\xBD") != std::string::npos) continue;  // of bytes that are no characters
    EXPECT_EQ(joined(pieces), whole) << text;
    ++compared;
  }
  EXPECT_GT(compared, 350);
}

INSTANTIATE_TEST_SUITE_P(Kinds, TokenPieces, testing::Values("gpt2", "llama2_legacy", "gemma"));

TEST(TokenPieces, KeepACharacterOfSeveralTokensWhole) {
  const data::Tokenizer tokenizer = golden_tokenizer("gpt2");
  const std::string text = "a\xF0\x9F\x9A\xA2z";
  const auto ids = tokenizer.encode(text, false);
  const auto pieces = token_pieces(ids, ids, tokenizer);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[1].text, "\xF0\x9F\x9A\xA2");
  EXPECT_EQ(pieces[1].count, static_cast<int64_t>(ids.size()) - 2);
}

TEST(TokenPieces, TheFirstTokenOfADocumentIsNeverTrained) {
  const data::Tokenizer tokenizer = golden_tokenizer("gpt2");
  const auto ids = tokenizer.encode("one two three", false);
  std::vector<int32_t> labels = ids;
  labels.back() = data::kIgnoredLabel;
  const auto runs = token_runs(token_pieces(ids, labels, tokenizer));
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_FALSE(runs[0].trained);
  EXPECT_EQ(runs[0].pieces.size(), 1u);
  EXPECT_TRUE(runs[1].trained);
  EXPECT_FALSE(runs[2].trained);
  EXPECT_EQ(runs[0].text() + runs[1].text() + runs[2].text(), "one two three");
}

TEST(TokenPieces, ControlCharactersDoNotReachTheTerminal) {
  EXPECT_EQ(visible_text("a\x1b[31mb\r\n\tc\x7f"), "a\\x1b[31mb\\x0d\n\tc\\x7f");
}

}  // namespace
}  // namespace nibble::trainer
