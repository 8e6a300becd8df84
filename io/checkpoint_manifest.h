// MANIFEST.json of a checkpoint: what the folder must hold, byte for byte. It is written last, so that its presence says
// that everything else was written.
//
//   { "format_version": 1, "step": 100,
//     "files": { "adapter_model.safetensors": { "size": 123, "xxh3_128": "<32 hex digits>" }, ... },
//     "checksum": "<XXH3-128 of this text with an empty checksum>" }
//
// A manifest has exactly one spelling (sorted names, two-space indent): a reader renders what it read and compares, so
// that any changed byte of the manifest itself is noticed too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace nibble::io {

inline constexpr int64_t kManifestVersion = 1;
inline constexpr const char* kManifestFile = "MANIFEST.json";

struct ManifestEntry {
  int64_t size = 0;       // bytes
  std::string xxh3_128;   // 32 lower-case hex digits
};

struct Manifest {
  int64_t step = 0;
  std::map<std::string, ManifestEntry> files;  // by name; plain names without a folder
};

// Whether `name` names a file of the same folder and nothing else: no separators, no "..", no control characters.
bool is_plain_file_name(std::string_view name);

std::string render_manifest(const Manifest& manifest);

// THROWS FormatError with `path` where the text is not exactly what render_manifest writes, the version is newer than
// ours, or a name would lead out of the folder.
Manifest parse_manifest(const std::string& text, const std::filesystem::path& path);

}  // namespace nibble::io
