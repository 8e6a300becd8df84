#include "trainer/token_pieces.h"

#include <fmt/format.h>

#include <algorithm>

namespace nibble::trainer {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD, which stands for part of a character
constexpr int64_t kMostTokensOfACharacter = 4;             // UTF-8 has up to four bytes, a token at least one

// What the tokens [first, first + count) add to the text in front of them.
std::string text_of(std::span<const int32_t> ids, int64_t first, int64_t count, const data::Tokenizer& tokenizer) {
  if (first == 0) return tokenizer.decode(ids.subspan(0, count), /*skip_special_tokens=*/false);
  const std::string before = tokenizer.decode(ids.subspan(first - 1, 1), false);
  std::string both = tokenizer.decode(ids.subspan(first - 1, count + 1), false);
  // The token before may itself end within a character, which this one completes: then it is decoded alone.
  if (!both.starts_with(before)) return tokenizer.decode(ids.subspan(first, count), false);
  return both.substr(before.size());
}

}  // namespace

std::vector<TokenPiece> token_pieces(std::span<const int32_t> ids, std::span<const int32_t> labels, const data::Tokenizer& tokenizer) {
  std::vector<TokenPiece> pieces;
  const auto size = static_cast<int64_t>(ids.size());
  for (int64_t i = 0; i < size;) {
    TokenPiece piece{i, 1, text_of(ids, i, 1, tokenizer), i > 0 && labels[i] != data::kIgnoredLabel, tokenizer.is_special(ids[i])};
    const int64_t most = std::min(size - i, kMostTokensOfACharacter);
    for (int64_t count = 2; count <= most && piece.text.find(kReplacement) != std::string::npos; ++count) {
      std::string longer = text_of(ids, i, count, tokenizer);
      if (longer.find(kReplacement) != std::string::npos) continue;
      piece.count = count;
      piece.text = std::move(longer);
    }
    i += piece.count;
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

std::string TokenRun::text() const {
  std::string text;
  for (const TokenPiece& piece : pieces) text += piece.text;
  return text;
}

std::vector<TokenRun> token_runs(std::vector<TokenPiece> pieces) {
  std::vector<TokenRun> runs;
  for (TokenPiece& piece : pieces) {
    if (runs.empty() || runs.back().trained != piece.trained) runs.push_back({piece.trained, {}});
    runs.back().pieces.push_back(std::move(piece));
  }
  return runs;
}

std::string visible_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n' || c == '\t' || (byte >= 0x20 && byte != 0x7F)) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", byte);
    }
  }
  return out;
}

}  // namespace nibble::trainer
