// Streaming a loaded base from the files that it was loaded from.
#pragma once

#include <vector>

#include "io/weight_source.h"
#include "nn/mapped_feed.h"
#include "nn/model.h"

namespace nibble::io {

// Where the frozen weights of a layer or the head lie in the source's files. Norms, biases and whatever is a copy are not part
// of it.
nn::MappedPart mapped_part(const nn::Layer& layer, const WeightSource& source);
nn::MappedPart mapped_part(const nn::FrozenWeight& weight, const WeightSource& source);
// Of every layer, and last of the head. THROWS ConfigError where a layer's weights are copies: nothing of it could be streamed.
std::vector<nn::MappedPart> mapped_parts(const nn::Model& model, const WeightSource& source);

// Lets a model that was loaded with LoadOptions::views bring its layers and its head in time and let them go. REQUIRES that
// model.files or the caller keeps the source alive. THROWS as mapped_parts
void stream_from_files(nn::Model& model, const WeightSource& source);

}  // namespace nibble::io
