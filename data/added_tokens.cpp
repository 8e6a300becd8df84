#include "data/added_tokens.h"

#include <algorithm>

#include "core/utf8.h"

namespace nibble::data {
namespace {

// Begin of the last character before `at`. REQUIRES at > 0.
size_t previous_character(std::string_view text, size_t at) {
  do {
    --at;
  } while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80);
  return at;
}

}  // namespace

AddedTokens::AddedTokens() : word_(R"(\w)", "") {}

void AddedTokens::add(const AddedToken& token, const std::string& pattern) {
  if (pattern.empty()) return;
  uint32_t node = 0;
  for (const char c : pattern) {
    const uint64_t edge = uint64_t{node} << 8 | static_cast<uint8_t>(c);
    const auto [found, fresh] = edges_.emplace(edge, static_cast<uint32_t>(ends_.size()));
    if (fresh) ends_.push_back(-1);
    node = found->second;
  }
  ends_[node] = static_cast<int64_t>(tokens_.size());
  begins_[static_cast<uint8_t>(pattern[0])] = true;
  tokens_.push_back(token);
}

std::optional<AddedTokens::Match> AddedTokens::match_at(std::string_view text, size_t at, size_t special_end) const {
  std::optional<Match> best;
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto found = edges_.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[i]));
    if (found == edges_.end()) break;
    node = found->second;
    if (ends_[node] >= 0 && (!tokens_[ends_[node]].special || i < special_end)) best = Match{i + 1, static_cast<size_t>(ends_[node])};
  }
  return best;
}

void AddedTokens::split(std::string_view text, std::span<const Span> plain, RegexScratch& scratch, std::vector<Part>& parts,
                        std::vector<int32_t>& refused) const {
  size_t done = 0, range = 0;  // of plain, the first that does not end before `at`
  const auto is_word = [&](size_t at) {
    const auto c = decode_utf8(text, at);
    return word_.find(text.substr(at, c.length), 0, scratch).has_value();
  };
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    if (!begins_[static_cast<uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    while (range < plain.size() && (plain[range].end <= at || plain[range].begin == plain[range].end)) ++range;
    const bool in_plain = range < plain.size() && plain[range].begin <= at;
    const auto match = match_at(text, at, in_plain || range == plain.size() ? text.size() : plain[range].begin);
    if (!match) {
      ++at;
      continue;
    }
    size_t begin = at, end = match->end;
    at = match->end;
    const AddedToken& token = tokens_[match->token];
    if (begin < done) continue;                      // swallowed by the rstrip of the one before
    if (token.special && in_plain) {
      at = std::min<size_t>(match->end, plain[range].end);
      refused.push_back(token.id);
      continue;
    }
    if (token.single_word) {
      if (begin > 0 && is_word(previous_character(text, begin))) continue;
      if (end < text.size() && is_word(end)) continue;
    }
    if (token.lstrip) {
      while (begin > done) {
        const size_t previous = previous_character(text, begin);
        if (previous < done || !is_white_space(decode_utf8(text, previous).value)) break;
        begin = previous;
      }
    }
    if (token.rstrip) {
      while (end < text.size()) {
        const CodePoint c = decode_utf8(text, end);
        if (!is_white_space(c.value)) break;
        end += c.length;
      }
    }
    if (begin > done) parts.push_back({{static_cast<uint32_t>(done), static_cast<uint32_t>(begin)}, -1});
    parts.push_back({{static_cast<uint32_t>(begin), static_cast<uint32_t>(end)}, token.id});
    done = end;
  }
  if (done < text.size()) parts.push_back({{static_cast<uint32_t>(done), static_cast<uint32_t>(text.size())}, -1});
}

}  // namespace nibble::data
