#include "data/bpe.h"

#include <bit>
#include <queue>

#include "core/utf8.h"

namespace nibble::data {
namespace {

constexpr size_t kLinearLimit = 64;  // symbols; above it the queue wins

void merge_linear(const MergeTable& merges, std::vector<Token>& symbols) {
  MergeTable::Merge pairs[kLinearLimit];
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) pairs[i] = merges.find(symbols[i].id, symbols[i + 1].id);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == MergeTable::kNone) break;
    symbols[best].id = pairs[best].id;
    for (size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      pairs[i - 1] = pairs[i];
    }
    --n;
    // The shift left the pair that began at best+2 in best+1's place; those touching the new symbol are looked up anew.
    if (best > 0) pairs[best - 1] = merges.find(symbols[best - 1].id, symbols[best].id);
    if (best + 1 < n) pairs[best] = merges.find(symbols[best].id, symbols[best + 1].id);
  }
  symbols.resize(n);
}

void merge_queue(const MergeTable& merges, std::vector<Token>& symbols) {
  struct Node {
    int32_t previous, next;
    bool alive = true;
  };
  struct Candidate {
    uint32_t rank;
    int32_t left, left_id, right_id, merged;
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  const auto n = static_cast<int32_t>(symbols.size());
  std::vector<Node> nodes(n);
  for (int32_t i = 0; i < n; ++i) nodes[i] = {i - 1, i + 1 < n ? i + 1 : -1};
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](int32_t left) {
    if (left < 0 || nodes[left].next < 0) return;
    const int32_t a = symbols[left].id, b = symbols[nodes[left].next].id;
    const auto merge = merges.find(a, b);
    if (merge.rank != MergeTable::kNone) queue.push({merge.rank, left, a, b, merge.id});
  };
  for (int32_t i = 0; i < n; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    // Stale where either side was merged meanwhile.
    if (!nodes[c.left].alive || symbols[c.left].id != c.left_id) continue;
    const int32_t right = nodes[c.left].next;
    if (right < 0 || symbols[right].id != c.right_id) continue;
    symbols[c.left].id = c.merged;
    nodes[right].alive = false;
    nodes[c.left].next = nodes[right].next;
    if (nodes[right].next >= 0) nodes[nodes[right].next].previous = c.left;
    consider(nodes[c.left].previous);
    consider(c.left);
  }
  size_t kept = 0;
  for (int32_t i = 0; i >= 0 && i < n; i = nodes[i].next) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

std::array<char32_t, 256> make_byte_characters() {
  std::array<char32_t, 256> table{};
  char32_t next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE);
    table[b] = printable ? static_cast<char32_t>(b) : next++;
  }
  return table;
}

}  // namespace

void MergeTable::reserve(size_t merges) { slots_.assign(std::bit_ceil(merges * 2 + 16), Slot{}); }

size_t MergeTable::place(uint64_t key) const {
  size_t i = (key * 0x9E3779B97F4A7C15u) >> (64 - std::countr_zero(slots_.size()));
  while (slots_[i].key != key && slots_[i].key != ~uint64_t{0}) i = (i + 1) & (slots_.size() - 1);
  return i;
}

void MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  if (slots_.size() < 2 * (used_ + 1)) {
    std::vector<Slot> old = std::move(slots_);
    reserve(used_ + 1);
    for (const Slot& slot : old) {
      if (slot.key != ~uint64_t{0}) slots_[place(slot.key)] = slot;
    }
  }
  const uint64_t key = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  Slot& slot = slots_[place(key)];
  if (slot.key != key) ++used_;
  slot = {key, merge};
}

MergeTable::Merge MergeTable::find(int32_t left, int32_t right) const {
  if (slots_.empty()) return {};
  return slots_[place(uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right))].merge;
}

void BpeModel::first_symbols(std::string_view word, std::vector<Token>& symbols) const {
  if (byte_level) {
    for (size_t i = 0; i < word.size(); ++i) {
      const int32_t id = byte_ids[static_cast<uint8_t>(word[i])];
      // SmolLM2 has no token for 21 of the bytes: they vanish, as they do in the original.
      if (id >= 0) {
        symbols.push_back({id, static_cast<uint32_t>(i)});
      } else if (unk_id >= 0 && !(fuse_unk && !symbols.empty() && symbols.back().id == unk_id)) {
        symbols.push_back({unk_id, static_cast<uint32_t>(i)});
      }
    }
    return;
  }
  bool in_unknown = false;
  std::string piece;
  for (size_t at = 0; at < word.size();) {
    const CodePoint c = decode_utf8(word, at);
    const auto start = static_cast<uint32_t>(at);
    piece.assign(word.substr(at, c.length));
    at += c.length;
    if (const auto found = ids.find(piece); found != ids.end()) {
      symbols.push_back({found->second, start});
      in_unknown = false;
      continue;
    }
    bool all_bytes = byte_fallback;
    for (const char byte : piece) all_bytes = all_bytes && byte_ids[static_cast<uint8_t>(byte)] >= 0;
    if (all_bytes) {
      for (size_t i = 0; i < piece.size(); ++i) {
        symbols.push_back({byte_ids[static_cast<uint8_t>(piece[i])], start + static_cast<uint32_t>(i)});
      }
      in_unknown = false;
    } else if (unk_id >= 0) {
      if (!(in_unknown && fuse_unk)) symbols.push_back({unk_id, start});
      in_unknown = true;
    }
  }
}

void BpeModel::encode_word(std::string_view word, std::vector<Token>& out) const {
  if (ignore_merges) {
    if (const auto found = ids.find(std::string(word)); found != ids.end()) {
      out.push_back({found->second, 0});
      return;
    }
  }
  std::vector<Token> symbols;
  symbols.reserve(word.size());
  first_symbols(word, symbols);
  if (symbols.size() > kLinearLimit) {
    merge_queue(merges, symbols);
  } else if (symbols.size() > 1) {
    merge_linear(merges, symbols);
  }
  out.insert(out.end(), symbols.begin(), symbols.end());
}

const std::array<char32_t, 256>& byte_characters() {
  static const std::array<char32_t, 256> table = make_byte_characters();
  return table;
}

int byte_of_character(char32_t c) {
  static const auto table = [] {
    std::array<int16_t, 512> back{};
    back.fill(-1);
    for (int b = 0; b < 256; ++b) back[byte_characters()[b]] = static_cast<int16_t>(b);
    return back;
  }();
  return c < table.size() ? table[c] : -1;
}

bool token_bytes(std::string_view token, std::string& bytes) {
  bytes.clear();
  for (size_t at = 0; at < token.size();) {
    const CodePoint c = decode_utf8(token, at);
    const int byte = c.valid ? byte_of_character(c.value) : -1;
    if (byte < 0) return false;
    bytes.push_back(static_cast<char>(byte));
    at += c.length;
  }
  return true;
}

}  // namespace nibble::data
