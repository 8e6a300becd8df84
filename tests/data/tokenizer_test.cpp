// Tokenizers beyond the goldens: files that are damaged or of a kind not known, positions, threads, hostile texts.
//
// Units, through Tokenizer: data/gguf_vocab data/hf_folder data/tokenizer_json
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "core/error.h"
#include "core/utf8.h"
#include "data/nfc.h"
#include "tests/data/fixtures.h"

namespace nibble::data {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

// A model folder of its own for each test, removed afterwards.
class TokenizerFolder : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_ / name, std::ios::binary) << text; }
  std::string refusal() const {
    try {
      Tokenizer::from_folder(folder_);
    } catch (const FormatError& error) {
      return error.what();
    }
    return "accepted";
  }
  std::filesystem::path folder_;
};

TEST_F(TokenizerFolder, UnknownKindsAreRefusedByName) {
  const json good = read_golden_json("tokenizers/gpt2/tokenizer.json");
  const auto refused_with = [&](const char* part, const json& value, const char* name) {
    json changed = good;
    changed[part] = value;
    write("tokenizer.json", changed.dump());
    EXPECT_NE(refusal().find(name), std::string::npos) << part << ": " << refusal();
  };
  refused_with("normalizer", {{"type", "NFKC"}}, "'NFKC'");
  refused_with("normalizer", {{"type", "BertNormalizer"}}, "'BertNormalizer'");
  refused_with("pre_tokenizer", {{"type", "UnicodeScripts"}}, "'UnicodeScripts'");
  refused_with("post_processor", {{"type", "RobertaProcessing"}}, "'RobertaProcessing'");
  refused_with("decoder", {{"type", "WordPiece"}}, "'WordPiece'");
  refused_with("model", {{"type", "Unigram"}, {"vocab", json::array()}}, "'Unigram'");
}

TEST_F(TokenizerFolder, DamagedFilesNameThePlace) {
  const std::string text = read_golden("tokenizers/gpt2/tokenizer.json");
  write("tokenizer.json", text.substr(0, text.size() / 2));
  EXPECT_NE(refusal().find("not JSON"), std::string::npos);
  json changed = json::parse(text);
  changed["model"]["merges"][7] = "no such pair";
  write("tokenizer.json", changed.dump());
  EXPECT_NE(refusal().find("merge 7"), std::string::npos);
  changed = json::parse(text);
  changed["added_tokens"][0]["id"] = 2000000;
  write("tokenizer.json", changed.dump());
  EXPECT_NE(refusal().find("2000000"), std::string::npos);
  changed = json::parse(text);
  changed["model"]["vocab"]["the"] = -1;
  write("tokenizer.json", changed.dump());
  EXPECT_NE(refusal().find("/model/vocab/the"), std::string::npos);
  changed = json::parse(text);
  changed["model"]["vocab"] = json::array();
  write("tokenizer.json", changed.dump());
  EXPECT_NE(refusal().find("/model/vocab: must be an object"), std::string::npos);
  for (const char* second : {"1", "0"}) {  // of the same id, of another
    std::string twice = text;
    twice.insert(twice.find("\"!\""), std::string("\"!\": ") + second + ", ");
    write("tokenizer.json", twice);
    EXPECT_NE(refusal().find("'!' is given twice"), std::string::npos) << refusal();
  }
  changed = json::parse(text);
  changed["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(unclosed"}}}, {"behavior", "Isolated"}};
  write("tokenizer.json", changed.dump());
  EXPECT_NE(refusal().find("(unclosed"), std::string::npos);
}

// Whoever rewrites a file may sort its names, which puts merges in front of the vocabulary.
TEST_F(TokenizerFolder, TheOrderOfPartsDoesNotMatter) {
  const std::string text = read_golden("tokenizers/gpt2/tokenizer.json");
  write("tokenizer.json", text);
  const std::string words = "The harbour master counted 19 boats, didn't he?";
  const std::vector<int32_t> ids = Tokenizer::from_folder(folder_).encode(words, false);
  const std::string sorted = json::parse(text).dump();
  ASSERT_LT(sorted.find("\"merges\""), sorted.find("\"vocab\""));
  ASSERT_GT(text.find("\"merges\""), text.find("\"vocab\""));
  write("tokenizer.json", sorted);
  EXPECT_EQ(Tokenizer::from_folder(folder_).encode(words, false), ids);
}

TEST_F(TokenizerFolder, FolderWithoutATokenizerIsAnIoError) { EXPECT_THROW(Tokenizer::from_folder(folder_), IoError); }

TEST_F(TokenizerFolder, DamagedSentencePieceModelsAreRefused) {
  const std::string model = read_golden("tokenizers/llama2_sp/tokenizer.model");
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, model.size() / 2}) {
    write("tokenizer.model", model.substr(0, size));
    EXPECT_NE(refusal(), "accepted") << size;
  }
}

// The flags of a tokenizer.model lie beside it.
TEST_F(TokenizerFolder, SentencePieceTakesAddedTokensAndFlagsFromTheConfig) {
  write("tokenizer.model", read_golden("tokenizers/llama2_sp/tokenizer.model"));
  write("tokenizer_config.json", R"({"add_bos_token": false, "add_eos_token": true, "pad_token": "<pad>",
    "added_tokens_decoder": {"32000": {"content": "<pad>", "special": true}}, "chat_template": "x"})");
  const Tokenizer tokenizer = Tokenizer::from_folder(folder_);
  EXPECT_EQ(tokenizer.vocab_size(), 32001);
  EXPECT_EQ(tokenizer.pad_id(), 32000);
  EXPECT_EQ(tokenizer.encode("Hello", true), (Ids{15043, 2}));
  EXPECT_EQ(tokenizer.encode("Hello<pad>Hello", false), (Ids{15043, 32000, 15043}));
  EXPECT_EQ(tokenizer.chat_template(), "x");
  EXPECT_FALSE(tokenizer.adds_bos());
}

TEST(GgufVocab, UnknownNamesAndWrongSizesAreRefused) {
  const auto refusal = [](auto change) {
    GgufVocab vocab = smollm2_vocab("smollm");
    change(vocab);
    try {
      Tokenizer::from_gguf(vocab);
    } catch (const FormatError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(refusal([](GgufVocab& v) { v.pre = "martian"; }).find("'martian'"), std::string::npos);
  EXPECT_NE(refusal([](GgufVocab& v) { v.model = "rwkv"; }).find("'rwkv'"), std::string::npos);
  EXPECT_NE(refusal([](GgufVocab& v) { v.token_types.pop_back(); }).find("token_type"), std::string::npos);
  EXPECT_NE(refusal([](GgufVocab& v) { v.eos_id = 49152; }).find("eos_token_id"), std::string::npos);
  EXPECT_NE(refusal([](GgufVocab& v) { v.merges[5] = "x"; }).find("merges[5]"), std::string::npos);
  EXPECT_NE(refusal([](GgufVocab& v) { v.tokens[9] = "\xFF"; }).find("tokens[9]"), std::string::npos);
  EXPECT_NE(refusal([](GgufVocab& v) { v.tokens.clear(); }).find("missing"), std::string::npos);
}

TEST(GgufVocab, EveryNamedPreTokenizerCompilesAndLosesNoByte) {
  const std::string text = "It's 12345 a.b\n\n  \xE4\xBD\xA0\xE5\xA5\xBD caf\xC3\xA9 ABCdef's";
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "stablelm2", "tekken", "gpt-4o", "deepseek-v3",
                          "deepseek-coder", "deepseek-llm", "falcon", "default", ""}) {
    const Tokenizer tokenizer = smollm2_tokenizer(pre);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false), false), text) << pre;
  }
}

// GGUF keeps pieces and scores only; the model made of them must tokenize as the original does.
TEST(GgufVocab, SentencePieceVocabularyGivesTheOriginalIds) {
  const Tokenizer original = Tokenizer::from_folder(golden_path("tokenizers/llama2_sp"));
  GgufVocab vocab;
  vocab.path = "llama.gguf";
  vocab.model = "llama";
  for (int32_t id = 0; id < original.vocab_size(); ++id) {
    vocab.tokens.push_back(original.token(id));
    vocab.token_types.push_back(id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1);
    // Llama-2's scores are its ids, counted down, but for runs of spaces, which no merge reaches.
    const std::string& text = original.token(id);
    bool spaces = text.size() > 3 && text.size() % 3 == 0;
    for (size_t i = 0; i + 2 < text.size(); i += 3) spaces = spaces && text.substr(i, 3) == "\xE2\x96\x81";
    vocab.scores.push_back(id < 259 ? 0.0f : spaces ? -1e9f : static_cast<float>(259 - id));
  }
  vocab.bos_id = 1;
  vocab.eos_id = 2;
  vocab.unk_id = 0;
  const Tokenizer tokenizer = Tokenizer::from_gguf(vocab);
  const json texts = read_golden_json("tokenizers/texts.json");
  for (const json& text : texts) EXPECT_EQ(tokenizer.encode(text["text"].get<std::string>(), true), original.encode(text["text"].get<std::string>(), true));
}

// Without a normalizer, a byte-level token stands for exactly the bytes from its start to the next one's.
TEST(TokenizerStarts, ByteLevelTokensTileTheText) {
  const Tokenizer tokenizer = Tokenizer::from_folder(golden_path("tokenizers/llama3"));
  for (const json& entry : read_golden_json("tokenizers/texts.json")) {
    const std::string text = entry["text"];
    const Encoding encoding = tokenizer.encode_with_starts(text, false);
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      const size_t begin = encoding.starts[i], end = i + 1 < encoding.ids.size() ? encoding.starts[i + 1] : text.size();
      ASSERT_LT(begin, end);
      const std::string piece = text.substr(begin, end - begin);
      if (!first_invalid_utf8(piece)) {
        EXPECT_EQ(tokenizer.decode(std::span(&encoding.ids[i], 1), false), piece);
      }
    }
  }
}

TEST(TokenizerStarts, PositionsAreThoseOfTheTextBeforeNormalization) {
  const Tokenizer tokenizer = Tokenizer::from_folder(golden_path("tokenizers/qwen2"));
  const std::string text = "e\xCC\x81 e\xCC\x81<|im_end|>x";  // e + combining acute, twice
  const Encoding encoding = tokenizer.encode_with_starts(text, false);
  const auto end = std::find(encoding.ids.begin(), encoding.ids.end(), tokenizer.token_id("<|im_end|>"));
  ASSERT_NE(end, encoding.ids.end());
  EXPECT_EQ(encoding.starts[end - encoding.ids.begin()], 7u);
  EXPECT_EQ(encoding.starts.back(), 17u);
}

TEST(Tokenizer, GivesTheSameIdsFromManyThreads) {
  const Tokenizer tokenizer = smollm2_tokenizer();
  const std::string text = read_golden("tokenizers/texts.json");
  const Ids expected = tokenizer.encode(text, false);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results) threads.emplace_back([&] { result = tokenizer.encode(text, false); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

TEST(Tokenizer, IllFormedTextIsReadAsReplacementCharacters) {
  const Tokenizer tokenizer = smollm2_tokenizer();
  EXPECT_EQ(tokenizer.encode("a\xFF\xE2\x82z", false), tokenizer.encode("a\xEF\xBF\xBD\xEF\xBF\xBDz", false));
}

TEST(Tokenizer, IdsOutsideTheVocabularyAreAnError) {
  const Tokenizer tokenizer = smollm2_tokenizer();
  EXPECT_THROW(tokenizer.decode(Ids{49152}, false), DataError);
  EXPECT_THROW(tokenizer.decode(Ids{-1}, true), DataError);
}

// A merge loop that is quadratic in the word would need minutes here.
TEST(Tokenizer, LongWordsTakeTimeInProportion) {
  const Tokenizer tokenizer = smollm2_tokenizer();
  std::string word;
  for (uint32_t i = 0; i < 300'000; ++i) word += static_cast<char>('a' + (i * 7919u + i * i / 97) % 26);
  const auto begin = std::chrono::steady_clock::now();
  const Ids ids = tokenizer.encode(word + std::string(300'000, ' '), false);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  EXPECT_EQ(tokenizer.decode(ids, false), word + std::string(300'000, ' '));
}

TEST(Nfc, ComposesOrdersAndKeepsExclusions) {
  const auto composed = [](const std::string& text) { return nfc(text, nullptr); };
  EXPECT_EQ(composed("e\xCC\x81"), "\xC3\xA9");                          // e + U+0301
  EXPECT_EQ(composed("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB"), "\xED\x95\x9C");  // Hangul L V T
  EXPECT_EQ(composed("\xE2\x84\xAB"), "\xC3\x85");                       // Angstrom sign: a singleton
  EXPECT_EQ(composed("\xE0\xA5\x98"), "\xE0\xA4\x95\xE0\xA4\xBC");       // U+0958: excluded from composition
  EXPECT_EQ(composed("q\xCC\x87\xCC\xA3"), "q\xCC\xA3\xCC\x87");         // dot below goes before dot above
  EXPECT_EQ(composed("a\xCC\xA7\xCC\x81"), "\xC3\xA1\xCC\xA7");          // the acute passes the cedilla
}

}  // namespace
}  // namespace nibble::data
