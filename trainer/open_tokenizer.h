// The tokenizer that belongs to a base model.
#pragma once

#include <string>

#include "data/tokenizer.h"
#include "io/weight_source.h"

namespace nibble::trainer {

// From the folder's tokenizer files, or from the GGUF file's metadata. THROWS FormatError, IoError
data::Tokenizer open_tokenizer(const io::WeightSource& source);

// The same by the model's name; of a folder no weights need to be there. THROWS what finding the model throws.
data::Tokenizer open_tokenizer(const std::string& model_name_or_path);

}  // namespace nibble::trainer
