// Unicode normalization form C (UAX #15) with a map back to the original text, for tokenizers whose normalizer is NFC
// (Qwen). Unicode 14.0; the tables are in nfc_decompositions.cpp and nfc_combining.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::data {

// Triples, sorted by code point: (code point | composes << 31), first, second. second = 0: decomposes to one character.
extern const uint32_t kNfcDecompositions[];
extern const size_t kNfcDecompositionCount;
// Triples, sorted: first code point, last code point, canonical combining class of the run.
extern const uint32_t kNfcCombiningRuns[];
extern const size_t kNfcCombiningRunCount;

// True where NFC provably leaves the text as it is (every code point below U+0300): the common case, decided fast.
bool nfc_is_trivial(std::string_view text);

// text in NFC. origins[i] is the byte offset in `text` of what byte i of the result came from (the beginning of its
// canonical segment where characters were composed or reordered).
// REQUIRES valid UTF-8.
std::string nfc(std::string_view text, std::vector<uint32_t>* origins);

}  // namespace nibble::data
