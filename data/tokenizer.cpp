#include "data/tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <unordered_map>

#include "core/error.h"
#include "core/file.h"
#include "core/utf8.h"
#include "data/decoder.h"
#include "data/spm.h"
#include "data/tokenizer_spec.h"
#include "data/word_cache.h"

namespace nibble::data {
namespace {

// What one call needs and keeps for the next.
struct Scratch {
  RegexScratch regex;
  WordCache cache;
  std::vector<AddedTokens::Part> parts, inner;
  std::vector<Span> inner_plain;
  std::vector<Span> words;
  std::vector<Token> tokens;
};

void finish_bpe(TokenizerSpec& spec) {
  BpeModel& bpe = spec.bpe;
  bpe.byte_ids.fill(-1);
  bpe.ids.reserve(spec.tokens.size());
  std::string bytes;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& text = spec.tokens[id];
    if (text.empty()) continue;
    if (bpe.byte_level) {
      if (token_bytes(text, bytes)) bpe.ids.emplace(bytes, static_cast<int32_t>(id));
    } else {
      bpe.ids.emplace(text, static_cast<int32_t>(id));
    }
  }
  for (int b = 0; b < 256; ++b) {
    const auto found = bpe.ids.find(bpe.byte_level ? std::string(1, static_cast<char>(b)) : fmt::format("<0x{:02X}>", b));
    if (found != bpe.ids.end()) bpe.byte_ids[b] = found->second;
  }
}

}  // namespace

struct Tokenizer::State {
  TokenizerSpec spec;
  std::unique_ptr<SentencePieceModel> sentencepiece;
  AddedTokens raw;         // searched for in the text as it is
  AddedTokens normalized;  // searched for in the normalized text
  std::vector<bool> special;

  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Scratch>> pool;

  explicit State(TokenizerSpec from) : spec(std::move(from)) {
    if (spec.tokens.empty()) throw FormatError("the tokenizer has no tokens", spec.path);
    for (const auto* ids : {&spec.prefix, &spec.suffix}) {
      for (const int32_t id : *ids) {
        if (id >= static_cast<int32_t>(spec.tokens.size())) {
          throw FormatError(fmt::format("the post-processor adds token {}, but there are {} tokens", id, spec.tokens.size()), spec.path);
        }
      }
    }
    if (spec.sentencepiece_model.empty()) {
      finish_bpe(spec);
    } else {
      sentencepiece = std::make_unique<SentencePieceModel>(spec.sentencepiece_model, spec.path);
      spec.decoder = sentencepiece_decoder();
    }
    special.resize(spec.tokens.size());
    for (const AddedToken& token : spec.added) {
      special[token.id] = token.special;
      if (token.normalized) {
        TracedText content{token.content, {}, 0};
        normalize(content, spec.normalizer);
        normalized.add(token, content.text);
      } else {
        raw.add(token, token.content);
      }
    }
  }

  std::unique_ptr<Scratch> borrow() const {
    const std::lock_guard lock(mutex);
    if (pool.empty()) return std::make_unique<Scratch>();
    auto scratch = std::move(pool.back());
    pool.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<Scratch> scratch) const {
    const std::lock_guard lock(mutex);
    pool.push_back(std::move(scratch));
  }

  // One ordinary stretch of normalized text.
  template <class Emit>
  void encode_stretch(TracedText& text, Scratch& scratch, const Emit& emit) const {
    if (sentencepiece) {
      scratch.tokens.clear();
      sentencepiece->encode(text.text, scratch.tokens);
      const size_t size = text.text.size();
      for (const Token& token : scratch.tokens) {
        const size_t at = std::min<size_t>(token.start, size == 0 ? 0 : size - 1);
        emit(token.id, text.origin(at));
      }
      return;
    }
    scratch.words.clear();
    split_words(spec.pre_tokenizer, text.text, scratch.regex, scratch.words);
    for (const Span& span : scratch.words) {
      const std::string_view word = std::string_view(text.text).substr(span.begin, span.end - span.begin);
      const auto tokens = scratch.cache.find_or_make(word, [&](std::vector<Token>& out) { spec.bpe.encode_word(word, out); });
      for (const Token& token : tokens) emit(token.id, text.origin(span.begin + token.start));
    }
  }

  // The ranges of a text in those of a stretch of it, by where the stretch's bytes come from.
  static void trace_ranges(const TracedText& stretch, std::span<const Span> ranges, std::vector<Span>& out) {
    out.clear();
    const auto size = static_cast<uint32_t>(stretch.text.size());
    const auto first_from = [&](uint32_t origin) {
      uint32_t low = 0, high = size;
      while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        stretch.origin(middle) < origin ? low = middle + 1 : high = middle;
      }
      return low;
    };
    if (size == 0) return;
    const auto ends_before = [](const Span& range, uint32_t at) { return range.end <= at; };
    auto range = std::lower_bound(ranges.begin(), ranges.end(), stretch.origin(0), ends_before);
    for (; range != ranges.end() && range->begin <= stretch.origin(size - 1); ++range) {
      const Span traced{first_from(range->begin), first_from(range->end)};
      if (traced.begin < traced.end) out.push_back(traced);
    }
  }

  // plain: see Tokenizer::encode_with_starts. refused: gets the special tokens that stand there.
  template <class Emit>
  void encode(std::string_view text, std::span<const Span> plain, std::vector<int32_t>& refused, const Emit& emit) const {
    // Positions are 32 bits, and normalization can make a text longer.
    if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()) / 4) {
      throw DataError(fmt::format("a text of {} bytes is too long to tokenize at once (limit 512 MiB): split it", text.size()));
    }
    auto scratch = borrow();
    scratch->parts.clear();
    raw.split(text, plain, scratch->regex, scratch->parts, refused);
    for (size_t i = 0; i < scratch->parts.size(); ++i) {
      const auto part = scratch->parts[i];
      if (part.id >= 0) {
        emit(part.id, part.span.begin);
        continue;
      }
      TracedText stretch{std::string(text.substr(part.span.begin, part.span.end - part.span.begin)), {}, part.span.begin};
      normalize(stretch, spec.normalizer);
      if (normalized.empty()) {
        prepare_text(spec.pre_tokenizer, stretch, part.span.begin == 0);
        encode_stretch(stretch, *scratch, emit);
        continue;
      }
      scratch->inner.clear();
      trace_ranges(stretch, plain, scratch->inner_plain);
      normalized.split(stretch.text, scratch->inner_plain, scratch->regex, scratch->inner, refused);
      for (const auto& inner : scratch->inner) {
        if (inner.id >= 0) {
          emit(inner.id, stretch.origin(inner.span.begin));
          continue;
        }
        TracedText rest{stretch.text.substr(inner.span.begin, inner.span.end - inner.span.begin), {}, stretch.origin(inner.span.begin)};
        if (!stretch.origins.empty()) {
          rest.origins.assign(stretch.origins.begin() + inner.span.begin, stretch.origins.begin() + inner.span.end);
        }
        prepare_text(spec.pre_tokenizer, rest, part.span.begin == 0 && inner.span.begin == 0);
        encode_stretch(rest, *scratch, emit);
      }
    }
    give_back(std::move(scratch));
  }

  // All of a text as one range; longer ones are refused by encode().
  static Span whole(std::string_view text) {
    return {0, static_cast<uint32_t>(std::min<size_t>(text.size(), std::numeric_limits<uint32_t>::max()))};
  }

  // Valid UTF-8 as it is; ill-formed parts replaced, in `repaired`.
  static std::string_view checked(std::string_view text, std::string& repaired) {
    if (!first_invalid_utf8(text)) return text;
    repaired = repair_utf8(text);
    return repaired;
  }
};

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_folder(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  TokenizerSpec spec;
  if (const fs::path json = find_in_folder(folder, "tokenizer.json"); !json.empty()) {
    spec = read_tokenizer_json(json);
  } else if (const fs::path model = find_in_folder(folder, "tokenizer.model"); !model.empty()) {
    spec = read_sentencepiece_model(model);
  } else {
    throw IoError("no tokenizer: neither tokenizer.json nor tokenizer.model is in this folder", folder.string());
  }
  spec.hash = file_xxh3_128(spec.path);
  read_tokenizer_config(folder, spec);
  return Tokenizer(std::make_unique<State>(std::move(spec)));
}

Tokenizer Tokenizer::from_gguf(const GgufVocab& vocab) {
  return Tokenizer(std::make_unique<State>(read_gguf_vocab(vocab)));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens, SpecialText special) const {
  std::string repaired;
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 4);
  if (add_special_tokens) ids = state_->spec.prefix;
  const std::string_view valid = State::checked(text, repaired);
  const Span whole = State::whole(valid);
  std::vector<int32_t> refused;
  state_->encode(valid, std::span(&whole, special == SpecialText::kPlain ? 1 : 0), refused, [&](int32_t id, uint32_t) { ids.push_back(id); });
  if (add_special_tokens) ids.insert(ids.end(), state_->spec.suffix.begin(), state_->spec.suffix.end());
  return ids;
}

Encoding Tokenizer::encode_with_starts(std::string_view text, bool add_special_tokens, SpecialText special) const {
  std::string repaired;
  const std::string_view valid = State::checked(text, repaired);
  const Span whole = State::whole(valid);
  return encode_with_starts(valid, add_special_tokens, std::span(&whole, special == SpecialText::kPlain ? 1 : 0));
}

Encoding Tokenizer::encode_with_starts(std::string_view text, bool add_special_tokens, std::span<const Span> plain) const {
  if (const auto wrong = first_invalid_utf8(text)) throw DataError(fmt::format("the text is not valid UTF-8 at byte {}", *wrong));
  Encoding out;
  if (add_special_tokens) {
    out.ids = state_->spec.prefix;
    out.starts.assign(out.ids.size(), 0);
  }
  state_->encode(text, plain, out.refused, [&](int32_t id, uint32_t start) {
    out.ids.push_back(id);
    out.starts.push_back(start);
  });
  if (add_special_tokens) {
    out.ids.insert(out.ids.end(), state_->spec.suffix.begin(), state_->spec.suffix.end());
    out.starts.resize(out.ids.size(), static_cast<uint32_t>(text.size()));
  }
  return out;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    const std::string& text = token(id);
    if (!(skip_special_tokens && state_->special[id])) tokens.push_back(text);
  }
  return decode_tokens(state_->spec.decoder, std::move(tokens));
}

int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(state_->spec.tokens.size()); }
int32_t Tokenizer::bos_id() const { return state_->spec.bos_id; }
int32_t Tokenizer::eos_id() const { return state_->spec.eos_id; }
int32_t Tokenizer::pad_id() const { return state_->spec.pad_id; }
int32_t Tokenizer::unk_id() const { return state_->spec.unk_id; }
bool Tokenizer::adds_bos() const {
  const auto& spec = state_->spec;
  return spec.bos_id >= 0 && !spec.prefix.empty() && spec.prefix.front() == spec.bos_id;
}
bool Tokenizer::is_special(int32_t id) const { return id >= 0 && id < vocab_size() && state_->special[id]; }
const std::string& Tokenizer::chat_template() const { return state_->spec.chat_template; }
std::string Tokenizer::hash() const { return state_->spec.hash; }

int32_t Tokenizer::token_id(std::string_view token) const {
  return token.empty() ? -1 : state_->spec.find(token);
}

const std::string& Tokenizer::token(int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    throw DataError(fmt::format("token id {} is outside the tokenizer's vocabulary 0..{}", id, vocab_size() - 1));
  }
  return state_->spec.tokens[id];
}

}  // namespace nibble::data
