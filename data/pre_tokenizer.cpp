#include "data/pre_tokenizer.h"

namespace nibble::data {
namespace {

struct Piece {
  Span span;
  bool match;
};

// The text cut into matches and what lies between them.
void cut(const SplitStep& step, std::string_view text, Span within, RegexScratch& scratch, std::vector<Piece>& pieces) {
  pieces.clear();
  const std::string_view part = text.substr(within.begin, within.end - within.begin);
  const auto add = [&](uint32_t begin, uint32_t end, bool match) {
    if (end > begin) pieces.push_back({{within.begin + begin, within.begin + end}, match != step.invert});
  };
  uint32_t done = 0;
  size_t from = 0;
  while (from < part.size()) {
    const auto found = step.regex.find(part, from, scratch);
    if (!found) break;
    if (found->end == found->begin) {
      // An empty match cuts nothing; go on behind the next character.
      from = found->end + 1;
      while (from < part.size() && (static_cast<uint8_t>(part[from]) & 0xC0) == 0x80) ++from;
      continue;
    }
    add(done, found->begin, false);
    add(found->begin, found->end, true);
    done = found->end;
    from = found->end;
  }
  add(done, static_cast<uint32_t>(part.size()), false);
}

void join(SplitBehavior behavior, const std::vector<Piece>& pieces, std::vector<Span>& out) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Piece& piece : pieces) out.push_back(piece.span);
      return;
    case SplitBehavior::kRemoved:
      for (const Piece& piece : pieces) {
        if (!piece.match) out.push_back(piece.span);
      }
      return;
    case SplitBehavior::kContiguous:
      for (size_t i = 0; i < pieces.size(); ++i) {
        if (i > 0 && pieces[i].match == pieces[i - 1].match) {
          out.back().end = pieces[i].span.end;
        } else {
          out.push_back(pieces[i].span);
        }
      }
      return;
    case SplitBehavior::kMergedWithPrevious:
      for (size_t i = 0; i < pieces.size(); ++i) {
        if (i > 0 && pieces[i].match && !pieces[i - 1].match) {
          out.back().end = pieces[i].span.end;
        } else {
          out.push_back(pieces[i].span);
        }
      }
      return;
    case SplitBehavior::kMergedWithNext:
      for (size_t i = 0; i < pieces.size(); ++i) {
        if (i > 0 && pieces[i - 1].match && !pieces[i].match) {
          out.back().end = pieces[i].span.end;
        } else {
          out.push_back(pieces[i].span);
        }
      }
      return;
  }
}

}  // namespace

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void prepare_text(const PreTokenizer& pre, TracedText& text, bool first) {
  if (text.text.empty()) return;
  if (pre.metaspace) {
    text.replace(" ", pre.replacement);
    const bool wanted = pre.prepend_scheme == PrependScheme::kAlways || (pre.prepend_scheme == PrependScheme::kFirst && first);
    if (wanted && !text.text.starts_with(pre.replacement)) text.prepend(pre.replacement);
  }
  if (pre.add_prefix_space && !text.text.starts_with(' ')) text.prepend(" ");
}

void split_words(const PreTokenizer& pre, std::string_view text, RegexScratch& scratch, std::vector<Span>& words) {
  if (text.empty()) return;
  std::vector<Span> now = {{0, static_cast<uint32_t>(text.size())}};
  std::vector<Span> next;
  std::vector<Piece> pieces;
  for (const SplitStep& step : pre.splits) {
    next.clear();
    for (const Span& span : now) {
      cut(step, text, span, scratch, pieces);
      join(step.behavior, pieces, next);
    }
    now.swap(next);
  }
  words.insert(words.end(), now.begin(), now.end());
}

}  // namespace nibble::data
