#include "trainer/token_pieces.h"

#include <fmt/format.h>

#include <algorithm>

namespace nibble::trainer {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD, which stands for part of a character
// A character has up to four bytes, a token at least one; but a token may end one character and begin the next, so that
// several characters make one piece.
constexpr int64_t kMostTokensOfAPiece = 16;

// What the tokens [first, first + count) add to the text of the piece before them, which begins at token `before`.
std::string text_of(std::span<const int32_t> ids, int64_t before, int64_t first, int64_t count, const data::Tokenizer& tokenizer) {
  const std::string front = first == before ? "" : tokenizer.decode(ids.subspan(before, first - before), /*skip_special_tokens=*/false);
  const std::string both = tokenizer.decode(ids.subspan(before, first + count - before), false);
  // Where the piece before is no whole character, what follows may change it: then it is decoded alone.
  if (!both.starts_with(front)) return tokenizer.decode(ids.subspan(first, count), false);
  return both.substr(front.size());
}

}  // namespace

std::vector<TokenPiece> token_pieces(std::span<const int32_t> ids, std::span<const int32_t> labels, const data::Tokenizer& tokenizer) {
  std::vector<TokenPiece> pieces;
  const auto size = static_cast<int64_t>(ids.size());
  for (int64_t i = 0, before = 0; i < size;) {
    TokenPiece piece{i, 1, text_of(ids, before, i, 1, tokenizer), i > 0 && labels[i] != data::kIgnoredLabel, tokenizer.is_special(ids[i])};
    const int64_t most = std::min(size - i, kMostTokensOfAPiece);
    for (int64_t count = 2; count <= most && piece.text.find(kReplacement) != std::string::npos; ++count) {
      std::string longer = text_of(ids, before, i, count, tokenizer);
      if (longer.find(kReplacement) != std::string::npos) continue;
      piece.count = count;
      piece.text = std::move(longer);
    }
    before = i;
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
