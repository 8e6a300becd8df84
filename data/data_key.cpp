#include "data/data_key.h"

#include <fmt/core.h>

#include <fstream>
#include <iterator>
#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "core/verified_stamp.h"
#include "data/cache_file.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

constexpr size_t kHashDigits = 32;

std::string file_hash(const fs::path& file, const fs::path& stamps) {
  std::error_code ignored;
  if (fs::is_directory(file, ignored)) throw DataError("is a directory, not a file: name the file in it", Place{file.string()});
  const std::string identity = stamps.empty() ? "" : file_identity(file);
  if (identity.empty()) return file_xxh3_128(file);
  const fs::path stamp = stamps / fmt::format("{}.hash", xxh3_128(fs::absolute(file, ignored).string()));
  std::ifstream noted(stamp, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(noted), {}};
  if (text.size() == identity.size() + kHashDigits && text.starts_with(identity)) return text.substr(identity.size());
  const std::string hash = file_xxh3_128(file);
  // A folder that is not ours to write, or half a note, is no error: the file is read again.
  if (file_identity(file) == identity) std::ofstream(stamp, std::ios::binary | std::ios::trunc) << identity << hash;
  return hash;
}

// Where no template can be had, rows that need one are refused when they are met, and others do not care.
std::string template_hash(const TemplateRequest& request, const Tokenizer& tokenizer) {
  try {
    return choose_template(request, tokenizer).hash();
  } catch (const ConfigError&) {
    return "none";
  }
}

}  // namespace

std::vector<std::string> data_file_hashes(const std::vector<fs::path>& files, const fs::path& stamps, const std::function<void()>& each) {
  std::vector<std::string> hashes;
  for (const fs::path& file : files) {
    hashes.push_back(file_hash(file, stamps));
    if (each) each();
  }
  return hashes;
}

std::string data_key(const DataOptions& options, const std::vector<std::string>& file_hashes, const Tokenizer& tokenizer) {
  // Every field by name: a new one does not compile until somebody has thought of it here.
  const auto& [files, weights, format, fields, chat_template, max_length, truncation, packing, packing_strategy, assistant_only_loss, completion_only_loss,
               train_on_last_turn_only, split_special_tokens, max_bad_rows, validation_split_ratio, seed, threads] = options;
  std::string text = fmt::format("version {}\n", kCacheVersion);
  const auto add = [&](const char* name, const auto& value) { text += fmt::format("{} {}\n", name, value); };
  bool draws = validation_split_ratio > 0;
  for (size_t f = 0; f < files.size(); ++f) {
    add("file", file_hashes[f]);
    const double weight = weights.empty() ? 1.0 : weights[f];
    add("weight", weight);
    draws = draws || weight != static_cast<double>(static_cast<int64_t>(weight));
  }
  add("tokenizer", tokenizer.hash());
  // What is not in the tokenizer's file: special tokens that a configuration beside it names.
  add("special", fmt::format("{} {} {}", tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.adds_bos()));
  add("template", template_hash(chat_template, tokenizer));
  add("format", static_cast<int>(format));
  FieldNames::describe(fields, [&](const char* name, const std::string& value, const char*) { add(name, fmt::format("{} {}", value.size(), value)); });
  add("max_length", max_length);
  add("truncation", static_cast<int>(truncation));
  add("packing", packing ? 1 + static_cast<int>(packing_strategy) : 0);
  add("assistant_only_loss", assistant_only_loss);
  add("completion_only_loss", static_cast<int>(completion_only_loss));
  add("train_on_last_turn_only", train_on_last_turn_only);
  add("split_special_tokens", split_special_tokens);
  add("max_bad_rows", max_bad_rows);
  add("validation_split_ratio", validation_split_ratio);
  if (draws) add("seed", seed);
  static_cast<void>(threads);  // changes nothing
  return xxh3_128(text);
}

}  // namespace nibble::data
