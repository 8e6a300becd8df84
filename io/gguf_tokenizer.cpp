#include "io/gguf_tokenizer.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "schema/json_text.h"

namespace nibble::io {
namespace {

using Json = nlohmann::ordered_json;

constexpr int32_t kUnknown = 2, kControl = 3, kUserDefined = 4;  // tokenizer.ggml.token_type

// How a pre-tokenizer is written in tokenizer.json, by its name in GGUF (llama.cpp's llama-vocab.cpp).
struct PreKind {
  std::string_view name;
  std::string_view split;  // regular expression that isolates words before ByteLevel; "": GPT-2's own, inside ByteLevel
  bool digits = false;     // single digits are words
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;    // where the file does not say
};
constexpr std::string_view kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::array<PreKind, 7> kPreKinds{{
    {"gpt-2", "", false, false, false, false},
    {"gpt2", "", false, false, false, false},
    {"smollm", "", true, false, false, false},
    {"llama-bpe",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     false, false, true, true},
    {"qwen2", kQwen2Split, false, true, false, false},
    {"deepseek-r1-qwen", kQwen2Split, false, true, false, false},
    {"tekken",
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     false, false, true, true},
}};

[[noreturn]] void refuse(const GgufFile& file, const std::string& what) {
  throw ConfigError(fmt::format("{}, for which nibble writes no tokenizer.json; export the adapter, or train from the model's "
                                "Hugging Face folder", what), Place{file.path().string(), 0, 0, -1});
}

const PreKind& pre_kind(const GgufFile& file) {
  const std::string model = file.find_string("tokenizer.ggml.model").value_or("");
  if (model != "gpt2") refuse(file, fmt::format("its tokenizer is '{}'", model));
  const std::string pre = file.find_string("tokenizer.ggml.pre").value_or("");
  for (const PreKind& kind : kPreKinds) {
    if (kind.name == pre) return kind;
  }
  refuse(file, fmt::format("its pre-tokenizer is '{}'", pre));
}

std::optional<int64_t> token_id(const GgufFile& file, const char* key, size_t tokens) {
  const auto id = file.find_int(fmt::format("tokenizer.ggml.{}_token_id", key));
  if (!id || *id < 0) return std::nullopt;
  if (*id >= static_cast<int64_t>(tokens)) {
    throw FormatError(fmt::format("tokenizer.ggml.{}_token_id is {}, but there are {} tokens", key, *id, tokens), file.path().string());
  }
  return id;
}

bool adds_bos(const GgufFile& file) { return file.find_bool("tokenizer.ggml.add_bos_token").value_or(pre_kind(file).add_bos); }

Json pre_tokenizer_of(const PreKind& kind) {
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", kind.split.empty()}};
  if (kind.digits) {
    return {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, byte_level}}};
  }
  if (kind.split.empty()) return byte_level;
  const Json split = {{"type", "Split"}, {"pattern", {{"Regex", kind.split}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}};
}

Json post_processor_of(const std::string& bos, int64_t bos_id) {
  const auto sequence = [](const char* id, int type) { return Json{{"Sequence", {{"id", id}, {"type_id", type}}}}; };
  const auto special = [&](int type) { return Json{{"SpecialToken", {{"id", bos}, {"type_id", type}}}}; };
  Json json = {{"type", "TemplateProcessing"}};
  json["single"] = Json::array({special(0), sequence("A", 0)});
  json["pair"] = Json::array({special(0), sequence("A", 0), special(1), sequence("B", 1)});
  json["special_tokens"][bos] = {{"id", bos}, {"ids", {bos_id}}, {"tokens", {bos}}};
  return json;
}

// Tokens come from the file: one that is not UTF-8 is no JSON string.
std::string dump(const Json& json, int indent, const GgufFile& file) {
  try {
    return json.dump(indent);
  } catch (const nlohmann::json::type_error&) {
    throw FormatError("a token or the chat template is not valid UTF-8", file.path().string());
  }
}

}  // namespace

std::string render_tokenizer_json(const GgufFile& file) {
  const PreKind& kind = pre_kind(file);
  const std::vector<std::string> tokens = file.get_strings("tokenizer.ggml.tokens");
  const std::vector<int32_t> types = file.get_i32s("tokenizer.ggml.token_type");
  if (tokens.empty()) throw FormatError("tokenizer.ggml.tokens is missing or empty", file.path().string());
  if (!types.empty() && types.size() != tokens.size()) {
    throw FormatError(fmt::format("tokenizer.ggml.token_type has {} entries for {} tokens", types.size(), tokens.size()),
                      file.path().string());
  }
  Json added = Json::array();
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] != kUnknown && types[id] != kControl && types[id] != kUserDefined) continue;
    added.push_back({{"id", id}, {"content", tokens[id]}, {"single_word", false}, {"lstrip", false}, {"rstrip", false},
                     {"normalized", false}, {"special", types[id] != kUserDefined}});
  }
  // Written by hand: an ordered object of a hundred thousand names would look each one up in a list.
  std::string vocab = "{";
  for (size_t id = 0; id < tokens.size(); ++id) {
    vocab += fmt::format("{}{}:{}", id == 0 ? "" : ",", dump(tokens[id], -1, file), id);
  }
  vocab += '}';
  Json json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  json["added_tokens"] = added;
  json["normalizer"] = kind.nfc ? Json{{"type", "NFC"}} : Json();
  json["pre_tokenizer"] = pre_tokenizer_of(kind);
  const auto bos = token_id(file, "bos", tokens.size());
  json["post_processor"] = bos && adds_bos(file) ? post_processor_of(tokens[static_cast<size_t>(*bos)], *bos) : Json();
  json["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  json["model"] = {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr}, {"fuse_unk", false}, {"byte_fallback", false},
                   {"ignore_merges", kind.ignore_merges}, {"vocab", Json::object()},
                   {"merges", file.get_strings("tokenizer.ggml.merges")}};
  std::string text = dump(json, -1, file);
  // Quotes inside strings are escaped, so only the member itself reads like this.
  constexpr std::string_view kPlace = "\"vocab\":{}";
  return text.replace(text.find(kPlace), kPlace.size(), "\"vocab\":" + vocab);
}

std::string render_tokenizer_config(const GgufFile& file) {
  const std::vector<std::string> tokens = file.get_strings("tokenizer.ggml.tokens");
  Json json;
  json["add_bos_token"] = adds_bos(file);
  constexpr std::array<std::pair<const char*, const char*>, 4> kNamed{
      {{"bos", "bos_token"}, {"eos", "eos_token"}, {"padding", "pad_token"}, {"unknown", "unk_token"}}};
  for (const auto& [key, name] : kNamed) {
    if (const auto id = token_id(file, key, tokens.size())) json[name] = tokens[static_cast<size_t>(*id)];
  }
  if (const auto chat = file.find_string("tokenizer.chat_template")) json["chat_template"] = *chat;
  json["clean_up_tokenization_spaces"] = false;
  json["tokenizer_class"] = "PreTrainedTokenizerFast";
  return dump(json, 2, file);
}

void write_gguf_tokenizer(const GgufFile& file, const std::filesystem::path& folder) {
  const std::pair<const char*, std::string> files[] = {{"tokenizer.json", render_tokenizer_json(file)},
                                                       {"tokenizer_config.json", render_tokenizer_config(file)}};
  for (const auto& [name, text] : files) {
    FileWriter writer(folder / name);
    writer.write(text);
    writer.write("\n");
    writer.close();
  }
}

}  // namespace nibble::io
