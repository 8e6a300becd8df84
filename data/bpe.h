// Byte-pair encoding of one word: the merge loop, for byte-level vocabularies (GPT-2 kind) and for character-level ones
// with byte fallback (Llama-2 kind).
//
// Source of the algorithm: huggingface/tokenizers, models/bpe. Always the pair of lowest rank, the leftmost of equals.
// Short words are searched linearly (a few dozen numbers in one cache line beat any queue); long ones use a priority
// queue over a linked list, so that a text of n bytes without a word boundary costs n log n.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace nibble::data {

struct Token {
  int32_t id = 0;
  uint32_t start = 0;  // byte offset of the token's first byte in the word
};

// Open-addressed map from a pair of ids to the merge's rank and result.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = kNone;
    int32_t id = -1;
  };
  static constexpr uint32_t kNone = 0xFFFFFFFFu;

  void reserve(size_t merges);
  void insert(int32_t left, int32_t right, Merge merge);  // a pair given again keeps its last rank
  Merge find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key = ~uint64_t{0};
    Merge merge;
  };
  size_t place(uint64_t key) const;
  std::vector<Slot> slots_;
  size_t used_ = 0;
};

struct BpeModel {
  MergeTable merges;
  std::unordered_map<std::string, int32_t> ids;  // byte level: raw bytes -> id; else the piece's text -> id
  bool byte_level = true;
  std::array<int32_t, 256> byte_ids{};           // byte level: the byte's own token, -1: none. Else "<0xXX>", -1: none
  bool ignore_merges = false;                    // a word that is a token is that token
  bool byte_fallback = false;
  bool fuse_unk = false;
  int32_t unk_id = -1;                           // -1: what has no token vanishes

  // Appends the tokens of one word. Thread-safe. REQUIRES valid UTF-8 for character-level models.
  void encode_word(std::string_view word, std::vector<Token>& out) const;

 private:
  void first_symbols(std::string_view word, std::vector<Token>& symbols) const;
};

// GPT-2's printable stand-ins for bytes: the character for a byte, and back (-1: the character stands for none).
const std::array<char32_t, 256>& byte_characters();
int byte_of_character(char32_t c);
// The bytes a byte-level token stands for; false: it holds a character that stands for no byte.
bool token_bytes(std::string_view token, std::string& bytes);

}  // namespace nibble::data
