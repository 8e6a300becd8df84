// Checks on a serialized SentencePiece model that the library itself leaves out: it follows the character map's trie wherever its
// units point, and takes scores that are no numbers.
//
// The container is protocol buffers (sentencepiece_model.proto of google/sentencepiece):
//
//   ModelProto      1: pieces (repeated)   3: normalizer   5: denormalizer
//   SentencePiece   1: text   2: score, fp32   3: type
//   NormalizerSpec  2: character map: u32 bytes of the trie | the trie, u32 units | texts, each ended by a NUL
//
// A unit of the trie (github.com/s-yata/darts-clone): bit 31 a value, else bits 0-7 its label, bit 8 whether a value follows, bits
// 10-30 the offset to its children, times 256 with bit 9. Children of unit i lie at (i ^ offset) ^ byte.
#pragma once

#include <string>
#include <string_view>

namespace nibble::data {

// THROWS FormatError with `path` and the byte where the bytes are no such message, a score is not finite, a piece holds a NUL, or
// the trie leads outside of itself or of the texts.
void check_sentencepiece_model(std::string_view serialized, const std::string& path);

}  // namespace nibble::data
