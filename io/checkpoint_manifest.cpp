#include "io/checkpoint_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/file.h"
#include "schema/json_text.h"

namespace nibble::io {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLongestName = 255;  // of a file, on the file systems that we know

Json to_json(const Manifest& manifest, const std::string& checksum) {
  Json files = Json::object();
  for (const auto& [name, entry] : manifest.files) files[name] = {{"size", entry.size}, {"xxh3_128", entry.xxh3_128}};
  return {{"format_version", kManifestVersion}, {"step", manifest.step}, {"files", files}, {"checksum", checksum}};
}

// Reads fields of one object and says what is wrong with them.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string where, std::string path)
      : object_(object), where_(std::move(where)), path_(std::move(path)) {
    if (!object_.is_object()) refuse(where_ + " is not an object");
  }

  int64_t count(const char* key) const {
    const auto& value = find(key);
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() &&
         value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) ||
        value.get<int64_t>() < 0) {
      refuse(fmt::format("{}.{} is not a whole number from 0", where_, key));
    }
    return value.get<int64_t>();
  }
  std::string text(const char* key) const {
    const auto& value = find(key);
    if (!value.is_string()) refuse(fmt::format("{}.{} is not a text", where_, key));
    return value.get<std::string>();
  }
  const nlohmann::json& find(const char* key) const {
    const auto it = object_.find(key);
    if (it == object_.end()) refuse(fmt::format("{} has no '{}'", where_, key));
    return *it;
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw FormatError(what + "; this checkpoint cannot be trusted, use another one", path_);
  }

 private:
  const nlohmann::json& object_;
  std::string where_, path_;
};

bool is_xxh3_128(std::string_view text) {
  return text.size() == 32 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

bool is_plain_file_name(std::string_view name) {
  if (name.empty() || name.size() > kLongestName || name == "." || name == "..") return false;
  return std::none_of(name.begin(), name.end(),
                      [](char c) { return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

std::string render_manifest(const Manifest& manifest) {
  const std::string checksum = xxh3_128(to_json(manifest, "").dump(2));
  return to_json(manifest, checksum).dump(2) + "\n";
}

Manifest parse_manifest(const std::string& text, const std::filesystem::path& path) {
  const nlohmann::json json = schema::parse_json(text, path);
  const Fields top(json, "the manifest", path.string());
  const int64_t version = top.count("format_version");
  if (version > kManifestVersion) {
    throw FormatError(fmt::format("written in checkpoint format {}, this nibble reads up to {}; use a newer nibble", version,
                                  kManifestVersion),
                      path.string());
  }
  Manifest manifest;
  manifest.step = top.count("step");
  const auto& files = top.find("files");
  if (!files.is_object()) top.refuse("'files' is not an object");
  for (const auto& [name, value] : files.items()) {
    if (!is_plain_file_name(name)) top.refuse("'files' names a file outside the checkpoint");
    const Fields fields(value, "files." + name, path.string());
    ManifestEntry entry{fields.count("size"), fields.text("xxh3_128")};
    if (!is_xxh3_128(entry.xxh3_128)) fields.refuse(fmt::format("files.{}.xxh3_128 is not 32 hex digits", name));
    manifest.files.emplace(name, std::move(entry));
  }
  if (render_manifest(manifest) != text) top.refuse("the manifest's text differs from what its checksum was made of");
  return manifest;
}

}  // namespace nibble::io
