// The tokenizer that belongs to a base model.
#pragma once

#include "data/tokenizer.h"
#include "io/weight_source.h"

namespace nibble::trainer {

// From the folder's tokenizer files, or from the GGUF file's metadata. THROWS FormatError, IoError
data::Tokenizer open_tokenizer(const io::WeightSource& source);

}  // namespace nibble::trainer
