// The normalizers of tokenizer.json that nibble knows, and a text that remembers where its bytes came from.
//
// Source: huggingface/tokenizers, normalizers NFC, Prepend, Replace (with a string), Sequence. Others change characters
// in ways that training would not notice and are refused by name when the file is read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::data {

// A text with, for every byte, the byte offset in the source it came from. Offsets never decrease.
struct TracedText {
  std::string text;
  std::vector<uint32_t> origins;  // empty: byte i came from base + i
  uint32_t base = 0;

  uint32_t origin(size_t i) const { return origins.empty() ? base + static_cast<uint32_t>(i) : origins[i]; }
  // Replaces every `from` by `to`; the bytes of `to` have the origin of the first byte replaced.
  void replace(std::string_view from, std::string_view to);
  void prepend(std::string_view prefix);

 private:
  void trace();  // fills origins
};

struct NormalizerStep {
  enum class Kind : uint8_t { kNfc, kPrepend, kReplace } kind = Kind::kNfc;
  std::string pattern;  // kReplace: what is searched for
  std::string content;  // kPrepend, kReplace
};

void normalize(TracedText& text, const std::vector<NormalizerStep>& steps);

}  // namespace nibble::data
