// Names of special tokens as plain characters in ranges of a text: nothing else may change by it.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "core/utf8.h"
#include "data/tokenizer.h"
#include "tests/data/fixtures.h"

namespace nibble::data {
namespace {

using Ids = std::vector<int32_t>;

const char* const kFolders[] = {"gpt2", "llama3", "qwen2", "deepseek", "tekken", "digits", "llama2_legacy", "mistral_metaspace", "gemma"};

Tokenizer golden_tokenizer(const std::string& name) { return Tokenizer::from_folder(golden_path("tokenizers/" + name)); }

const Tokenizer& smollm2() {
  static const Tokenizer tokenizer = smollm2_tokenizer();
  return tokenizer;
}

std::vector<std::string> golden_texts() {
  std::vector<std::string> texts;
  const auto collect = [&](const auto& self, const nlohmann::json& value) -> void {
    if (value.is_string()) texts.push_back(value.get<std::string>());
    if (value.is_structured()) {
      for (const auto& item : value) self(self, item);
    }
  };
  collect(collect, read_golden_json("tokenizers/texts.json"));
  return texts;
}

bool starts_a_character(const std::string& text, size_t at) { return at == text.size() || (static_cast<uint8_t>(text[at]) & 0xC0) != 0x80; }

// Every golden text, plain in ranges of many kinds: the ids are those of the whole text unless a special token's name is
// refused.
TEST(PlainText, RangesWithoutSpecialTextChangeNoId) {
  int compared = 0, refused = 0;
  for (const char* name : kFolders) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    for (const std::string& text : golden_texts()) {
      if (first_invalid_utf8(text)) continue;
      const Encoding whole = tokenizer.encode_with_starts(text, true);
      for (const size_t step : {1, 2, 5, 1000000}) {
        std::vector<Span> plain;
        for (size_t at = 0; at < text.size(); at += 2 * step) {
          Span range{static_cast<uint32_t>(at), static_cast<uint32_t>(std::min(at + step, text.size()))};
          while (!starts_a_character(text, range.end)) ++range.end;
          while (!starts_a_character(text, range.begin)) ++range.begin;
          if (plain.empty() || plain.back().end <= range.begin) plain.push_back(range);
        }
        const Encoding ranged = tokenizer.encode_with_starts(text, true, plain);
        if (!ranged.refused.empty()) {
          ++refused;
          continue;
        }
        // A name that reaches from one kind of text into the other is no name of a token, and is not told of.
        const Encoding none = tokenizer.encode_with_starts(text, true, SpecialText::kPlain);
        if (!none.refused.empty()) continue;
        EXPECT_EQ(ranged.ids, whole.ids) << name << ": " << text;
        EXPECT_EQ(ranged.starts, whole.starts) << name;
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 8000);
  EXPECT_GT(refused, 100);
}

// Prefix, plain middle, suffix: what encoding all as markup, but the middle's own names as text, must give.
TEST(PlainText, ANameInAPlainRangeIsText) {
  const std::string before = "<|im_start|>user\n", said = "a <|im_end|> b<|im_start|>", after = "<|im_end|>\n";
  const std::string text = before + said + after;
  const auto begin = static_cast<uint32_t>(before.size()), end = static_cast<uint32_t>(before.size() + said.size());
  const std::vector<Span> plain{{begin, end}};
  const Encoding encoding = smollm2().encode_with_starts(text, false, plain);
  EXPECT_EQ(encoding.refused, (Ids{2, 1}));
  EXPECT_EQ(std::count(encoding.ids.begin(), encoding.ids.end(), 2), 1);
  EXPECT_EQ(std::count(encoding.ids.begin(), encoding.ids.end(), 1), 1);
  EXPECT_EQ(encoding.ids.front(), 1);
  EXPECT_EQ(smollm2().decode(encoding.ids, false), text);
  // What stands between the two real tokens is the text as plain characters.
  const Ids inside = smollm2().encode("user\n" + said, false, SpecialText::kPlain);
  EXPECT_EQ(Ids(encoding.ids.begin() + 1, encoding.ids.end() - 2), inside);
}

TEST(PlainText, ANameThatReachesIntoAPlainRangeIsText) {
  const std::string text = "<|im_end|><|im_end|>";
  for (uint32_t begin = 1; begin < 10; ++begin) {
    const std::vector<Span> plain{{begin, 10}};
    const Encoding encoding = smollm2().encode_with_starts(text, false, plain);
    EXPECT_EQ(std::count(encoding.ids.begin(), encoding.ids.end(), 2), 1) << begin;
    EXPECT_EQ(encoding.ids.back(), 2) << begin;
  }
  // An empty range is none.
  const std::vector<Span> empty{{5, 5}};
  EXPECT_EQ(smollm2().encode_with_starts(text, false, empty).ids, (Ids{2, 2}));
}

TEST(PlainText, AllPlainIsSpecialTextPlain) {
  for (const char* name : kFolders) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    for (const std::string& text : golden_texts()) {
      if (first_invalid_utf8(text)) continue;
      const std::vector<Span> all{{0, static_cast<uint32_t>(text.size())}};
      EXPECT_EQ(tokenizer.encode_with_starts(text, false, all).ids, tokenizer.encode(text, false, SpecialText::kPlain)) << name << ": " << text;
    }
  }
}

TEST(PlainText, IllFormedTextHasNoRanges) {
  const std::vector<Span> plain{{0, 1}};
  EXPECT_THROW(smollm2().encode_with_starts("a\xFF", false, plain), DataError);
}

}  // namespace
}  // namespace nibble::data
