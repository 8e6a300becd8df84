// From tokens back to text: the decoders of tokenizer.json.
#pragma once

#include <string>
#include <vector>

#include "data/tokenizer_spec.h"

namespace nibble::data {

// The steps one after the other, then everything joined. No steps: joined with a space, as huggingface/tokenizers does.
std::string decode_tokens(const std::vector<DecoderStep>& steps, std::vector<std::string> tokens);

// SentencePiece: U+2581 is a space, byte pieces are bytes, the space before the first word goes.
std::vector<DecoderStep> sentencepiece_decoder();

}  // namespace nibble::data
