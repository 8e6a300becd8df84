#include "io/export_files.h"

#include <algorithm>
#include <array>

#include "core/file.h"
#include "io/gguf_tokenizer.h"
#include "io/hf_config.h"
#include "schema/json_text.h"

namespace nibble::io {
namespace fs = std::filesystem;
namespace {

constexpr std::array<std::string_view, 13> kExportFiles{
    "config.json",   "generation_config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json",
    "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json",    "merges.txt",
    "chat_template.jinja", "chat_template.json", "README.md"};

// Generation settings of a model that came without them.
std::string render_generation_config(const nn::ModelConfig& config) {
  nlohmann::ordered_json json;
  if (config.bos_token_id) json["bos_token_id"] = *config.bos_token_id;
  if (config.eos_token_ids.size() == 1) json["eos_token_id"] = config.eos_token_ids.front();
  if (config.eos_token_ids.size() > 1) json["eos_token_id"] = config.eos_token_ids;
  if (config.pad_token_id) json["pad_token_id"] = *config.pad_token_id;
  if (json.is_null()) json = nlohmann::ordered_json::object();
  return json.dump(2) + "\n";
}

}  // namespace

void write_file(const fs::path& path, std::string_view text) {
  FileWriter writer(path);
  writer.write(text);
  writer.close();
}

bool is_export_file(const std::string& name) {
  if (std::find(kExportFiles.begin(), kExportFiles.end(), name) != kExportFiles.end()) return true;
  return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") || name.ends_with(".gguf");
}

void write_model_files(const WeightSource& source, const fs::path& folder, const std::string& dtype,
                       const std::string& chat_template) {
  if (const GgufFile* gguf = source.gguf()) {
    write_file(folder / "config.json", merged_hf_config(render_hf_config(source.config()), dtype));
    write_file(folder / "generation_config.json", render_generation_config(source.config()));
    write_gguf_tokenizer(*gguf, folder);
  } else {
    write_file(folder / "config.json", merged_hf_config(source.config_json(), dtype));
    for (const fs::path& file : source.tokenizer_files()) write_file(folder / file.filename(), read_text(file));
  }
  if (!chat_template.empty()) write_file(folder / "chat_template.jinja", chat_template);
}

}  // namespace nibble::io
