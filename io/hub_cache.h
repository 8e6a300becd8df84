// Finding what model_name_or_path names: a folder, a GGUF file, or a Hub id in the local Hugging Face cache.
//
//   <cache>/models--org--name/refs/main            the commit that "main" was when it was fetched
//   <cache>/models--org--name/snapshots/<commit>/  the files, as links into ../../blobs
//
// The cache is $HF_HUB_CACHE, else $HUGGINGFACE_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else
// ~/.cache/huggingface/hub (huggingface_hub's rules). Nothing is fetched here.
#pragma once

#include <filesystem>
#include <string>

namespace nibble::io {

std::filesystem::path hub_cache_folder();

// Whether `name` could be a Hub id: "name" or "org/name" of letters, digits, '.', '_' and '-'.
bool is_hub_id(const std::string& name);

// The folder or file that `name` names: itself where it exists, else the id's snapshot in the cache.
// THROWS ConfigError with the command that fetches the model where it is not there.
std::filesystem::path find_model(const std::string& name);

}  // namespace nibble::io
