// GGUF names its pre-tokenizer (tokenizer.ggml.pre) where tokenizer.json spells it out. The names and what they stand for
// are ggml-org/llama.cpp's (src/llama-vocab.cpp); the patterns below are those of the models' own tokenizer.json files.
#include "data/gguf_vocab.h"

#include <fmt/core.h>

#include <cmath>

#include "core/error.h"
#include "core/file.h"
#include "core/utf8.h"
#include "data/spm.h"
#include "data/tokenizer_spec.h"

namespace nibble::data {
namespace {

constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt4oPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepseekCjk = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr const char* kDeepseekPattern =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Of the first DeepSeek models: the CJK ideographs to U+9FA5, U+0800 to U+4E00, and Hangul.
constexpr const char* kDeepseek1Cjk = R"([\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
// The cased letters of Unicode 10, range by range as DeepSeek LLM's tokenizer.json lists them.
constexpr const char* kDeepseekLlmLetters =
    "\\s?["
#include "data/deepseek_llm_letters.inc"
    "]+";
constexpr const char* kDeepseekLlmPunctuation =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";

struct PreKind {
  std::vector<const char*> names;
  std::vector<const char*> patterns;
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

const std::vector<PreKind>& pre_kinds() {
  static const std::vector<PreKind> kinds = {
      {{"gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "roberta-bpe", "jina-es",
        "jina-de", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum"}, {kGpt2Pattern}},
      {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}, {R"(\p{N})", kGpt2Pattern}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"}, {kLlama3Pattern}, false, true, true},
      {{"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, {kLlama3Pattern}},
      {{"qwen2", "deepseek-r1-qwen", "megrez"}, {kQwen2Pattern}, true},
      {{"stablelm2", "hunyuan", "solar-open", "grok-2"}, {kQwen2Pattern}},
      {{"tekken"}, {kTekkenPattern}, false, true, true},
      {{"gpt-4o", "llama4", "minimax-m2"}, {kGpt4oPattern}},
      {{"deepseek-v3", "hunyuan-dense", "joyai-llm"}, {R"(\p{N}{1,3})", kDeepseekCjk, kDeepseekPattern}},
      {{"deepseek-coder"}, {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseek1Cjk, R"(\p{N})"}},
      {{"deepseek-llm"}, {R"([\r\n])", kDeepseekLlmLetters, kDeepseekLlmPunctuation, R"(\s+$)", kDeepseek1Cjk, R"(\p{N}+)"}},
      {{"falcon"}, {R"([\p{P}$+<=>^~|`]+)", kGpt2Pattern, R"([0-9][0-9][0-9])"}},
      {{"default"}, {R"([\p{P}$+<=>^~|]+)", kGpt2Pattern, R"(\p{N}+)", R"([0-9][0-9][0-9])"}},
  };
  return kinds;
}

const PreKind& find_pre_kind(const GgufVocab& vocab) {
  const std::string wanted = vocab.pre.empty() ? "default" : vocab.pre;
  for (const PreKind& kind : pre_kinds()) {
    for (const char* name : kind.names) {
      if (wanted == name) return kind;
    }
  }
  throw FormatError(fmt::format("tokenizer.ggml.pre = '{}' names a pre-tokenizer that is not supported; supported are among "
                                "others gpt-2, smollm, llama-bpe, qwen2, tekken, gpt-4o, deepseek-llm, deepseek-v3, falcon, "
                                "default; take the model's Hugging Face folder instead", vocab.pre), vocab.path);
}

constexpr int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6;

int32_t checked_id(const GgufVocab& vocab, const char* key, int64_t id) {
  if (id < -1 || id >= static_cast<int64_t>(vocab.tokens.size())) {
    throw FormatError(fmt::format("tokenizer.ggml.{} = {}, but there are {} tokens", key, id, vocab.tokens.size()), vocab.path);
  }
  return static_cast<int32_t>(id);
}

void check_sizes(const GgufVocab& vocab) {
  const auto fail = [&](const char* key, size_t found) {
    throw FormatError(fmt::format("tokenizer.ggml.{} has {} entries, but there are {} tokens", key, found, vocab.tokens.size()),
                      vocab.path);
  };
  if (vocab.tokens.empty()) throw FormatError("tokenizer.ggml.tokens is missing or empty", vocab.path);
  if (!vocab.token_types.empty() && vocab.token_types.size() != vocab.tokens.size()) fail("token_type", vocab.token_types.size());
  if (!vocab.scores.empty() && vocab.scores.size() != vocab.tokens.size()) fail("scores", vocab.scores.size());
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    if (first_invalid_utf8(vocab.tokens[id])) {
      throw FormatError(fmt::format("tokenizer.ggml.tokens[{}] is not valid UTF-8", id), vocab.path);
    }
  }
}

void read_added(const GgufVocab& vocab, TokenizerSpec& spec) {
  for (size_t id = 0; id < vocab.token_types.size(); ++id) {
    const int32_t type = vocab.token_types[id];
    if (type < kNormal || type > kByte) {
      throw FormatError(fmt::format("tokenizer.ggml.token_type[{}] = {} is outside 1..6", id, type), vocab.path);
    }
    if (type != kControl && type != kUserDefined && type != kUnknown) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(id);
    token.content = vocab.tokens[id];
    token.special = type != kUserDefined;
    spec.added.push_back(token);
  }
}

void read_bpe(const GgufVocab& vocab, TokenizerSpec& spec) {
  const PreKind& kind = find_pre_kind(vocab);
  for (const char* pattern : kind.patterns) {
    spec.pre_tokenizer.splits.push_back({Regex(pattern, vocab.path), SplitBehavior::kIsolated, false});
  }
  if (kind.nfc) spec.normalizer.push_back({NormalizerStep::Kind::kNfc, "", ""});
  spec.decoder.push_back({DecoderStep::Kind::kByteLevel, "", "", 0, 0, false});
  spec.bpe.byte_level = true;
  spec.bpe.ignore_merges = kind.ignore_merges;
  std::unordered_map<std::string, int32_t> ids;
  for (size_t id = 0; id < vocab.tokens.size(); ++id) ids.emplace(vocab.tokens[id], static_cast<int32_t>(id));
  spec.bpe.merges.reserve(vocab.merges.size());
  for (size_t rank = 0; rank < vocab.merges.size(); ++rank) {
    const std::string& merge = vocab.merges[rank];
    const size_t space = merge.find(' ', 1);  // a token never begins with a space: it is written with U+0120
    const auto a = ids.find(merge.substr(0, space));
    const auto b = space == std::string::npos ? ids.end() : ids.find(merge.substr(space + 1));
    const auto both = a == ids.end() || b == ids.end() ? ids.end() : ids.find(a->first + b->first);
    if (both == ids.end()) {
      throw FormatError(fmt::format("tokenizer.ggml.merges[{}] ('{}') is not a pair of tokens whose union is a token", rank,
                                    merge), vocab.path);
    }
    spec.bpe.merges.insert(a->second, b->second, {static_cast<uint32_t>(rank), both->second});
  }
  if (vocab.add_bos.value_or(kind.add_bos) && spec.bos_id >= 0) spec.prefix = {spec.bos_id};
}

void read_sentencepiece(const GgufVocab& vocab, TokenizerSpec& spec) {
  if (vocab.scores.empty() || vocab.token_types.empty()) {
    throw FormatError("a 'llama' tokenizer needs tokenizer.ggml.scores and tokenizer.ggml.token_type", vocab.path);
  }
  std::vector<Piece> pieces(vocab.tokens.size());
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (!std::isfinite(vocab.scores[id])) {
      throw FormatError(fmt::format("tokenizer.ggml.scores[{}] is not a number", id), vocab.path);
    }
    pieces[id] = {vocab.tokens[id], vocab.scores[id], static_cast<PieceType>(vocab.token_types[id])};
  }
  spec.sentencepiece_model = write_sentencepiece_model(pieces, vocab.add_space_prefix.value_or(true));
  if (vocab.add_bos.value_or(true) && spec.bos_id >= 0) spec.prefix = {spec.bos_id};
}

std::string vocab_hash(const GgufVocab& vocab) {
  std::string all = vocab.model + '\n' + vocab.pre + '\n';
  for (const auto* list : {&vocab.tokens, &vocab.merges}) {
    for (const std::string& text : *list) all += text + '\n';
  }
  all.append(reinterpret_cast<const char*>(vocab.scores.data()), vocab.scores.size() * sizeof(float));
  all.append(reinterpret_cast<const char*>(vocab.token_types.data()), vocab.token_types.size() * sizeof(int32_t));
  return xxh3_128(all);
}

}  // namespace

TokenizerSpec read_gguf_vocab(const GgufVocab& vocab) {
  check_sizes(vocab);
  TokenizerSpec spec;
  spec.path = vocab.path;
  spec.tokens = vocab.tokens;
  spec.bos_id = checked_id(vocab, "bos_token_id", vocab.bos_id);
  spec.eos_id = checked_id(vocab, "eos_token_id", vocab.eos_id);
  spec.pad_id = checked_id(vocab, "padding_token_id", vocab.pad_id);
  spec.unk_id = checked_id(vocab, "unknown_token_id", vocab.unk_id);
  spec.chat_template = vocab.chat_template;
  spec.hash = vocab_hash(vocab);
  read_added(vocab, spec);
  if (vocab.model == "gpt2") {
    read_bpe(vocab, spec);
  } else if (vocab.model == "llama") {
    read_sentencepiece(vocab, spec);
  } else {
    throw FormatError(fmt::format("tokenizer.ggml.model = '{}' is not supported; supported are gpt2 (byte-level BPE) and llama "
                                  "(SentencePiece)", vocab.model), vocab.path);
  }
  if (vocab.add_eos.value_or(false) && spec.eos_id >= 0) spec.suffix = {spec.eos_id};
  return spec;
}

}  // namespace nibble::data
