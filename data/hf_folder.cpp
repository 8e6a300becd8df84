// The files that lie beside a tokenizer in a Hugging Face model folder, and tokenizer.model itself.
#include <fmt/core.h>

#include <string>
#include <system_error>
#include <unordered_set>

#include "core/error.h"
#include "core/file.h"
#include "core/inside_folder.h"
#include "data/json_view.h"
#include "data/spm.h"
#include "data/tokenizer_spec.h"
#include "schema/json_text.h"

namespace nibble::data {
namespace {

// "bos_token": "<s>" or {"content": "<s>", ...}; -1: not given, or not a token of this vocabulary.
void read_special_id(const JsonView& root, const char* key, const TokenizerSpec& spec, int32_t& id) {
  const auto view = root.find(key);
  if (!view) return;
  const std::string text = view->value().is_object() ? view->at("content").text() : view->text();
  if (const int32_t found = spec.find(text); found >= 0) id = found;
}

void read_special_ids(const JsonView& root, TokenizerSpec& spec) {
  read_special_id(root, "bos_token", spec, spec.bos_id);
  read_special_id(root, "eos_token", spec, spec.eos_id);
  read_special_id(root, "pad_token", spec, spec.pad_id);
  read_special_id(root, "unk_token", spec, spec.unk_id);
}

// "chat_template" is a string, or a list of named ones of which "default" counts.
std::string read_chat_template(const JsonView& root) {
  const auto view = root.find("chat_template");
  if (!view) return "";
  if (!view->value().is_array()) return view->text();
  for (const JsonView& entry : view->items()) {
    if (entry.at("name").text() == "default") return entry.at("template").text();
  }
  return "";
}

// The flags of LlamaTokenizer, which a tokenizer.model has no place for.
void read_sentencepiece_flags(const JsonView& root, TokenizerSpec& spec) {
  if (const auto flag = root.find("add_bos_token")) {
    spec.prefix.clear();
    if (flag->flag() && spec.bos_id >= 0) spec.prefix = {spec.bos_id};
  }
  if (const auto flag = root.find("add_eos_token")) {
    spec.suffix.clear();
    if (flag->flag() && spec.eos_id >= 0) spec.suffix = {spec.eos_id};
  }
}

}  // namespace

int32_t TokenizerSpec::find(std::string_view text) const {
  for (const AddedToken& token : added) {
    if (token.content == text) return token.id;
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id] == text && !text.empty()) return static_cast<int32_t>(id);
  }
  return -1;
}

AddedToken read_added_token(const JsonView& view, int64_t id) {
  AddedToken token;
  token.id = static_cast<int32_t>(id);
  token.content = view.at("content").text();
  token.special = view.flag_or("special", false);
  token.lstrip = view.flag_or("lstrip", false);
  token.rstrip = view.flag_or("rstrip", false);
  token.single_word = view.flag_or("single_word", false);
  token.normalized = view.flag_or("normalized", !token.special);
  return token;
}

void place_added_token(TokenizerSpec& spec, const AddedToken& token) {
  // Published files leave small gaps at most; a huge id would only make a huge table.
  const int64_t limit = static_cast<int64_t>(spec.tokens.size()) + (1 << 16);
  if (token.id < 0 || token.id >= limit) {
    throw FormatError(fmt::format("the added token '{}' has id {}, but the vocabulary has {} tokens", token.content, token.id,
                                  spec.tokens.size()), spec.path);
  }
  if (static_cast<size_t>(token.id) >= spec.tokens.size()) spec.tokens.resize(token.id + 1);
  spec.tokens[token.id] = token.content;
  spec.added.push_back(token);
}

std::filesystem::path find_in_folder(const std::filesystem::path& folder, const char* name) {
  const std::filesystem::path path = folder / name;
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return {};
  if (error) throw IoError("cannot look at the file", path.string(), error.value());  // links in a circle, for one
  expect_inside(folder, path);
  return path;
}

TokenizerSpec read_sentencepiece_model(const std::filesystem::path& path) {
  TokenizerSpec spec;
  spec.path = path.string();
  spec.sentencepiece_model = read_text(path);
  const SentencePieceModel model(spec.sentencepiece_model, spec.path);
  const std::vector<Piece> pieces = model.pieces();
  spec.tokens.reserve(pieces.size());
  for (const Piece& piece : pieces) spec.tokens.push_back(piece.text);
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].type != PieceType::kControl && pieces[id].type != PieceType::kUnknown) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(id);
    token.content = pieces[id].text;
    token.special = true;
    spec.added.push_back(token);
  }
  spec.bos_id = model.bos_id();
  spec.eos_id = model.eos_id();
  spec.pad_id = model.pad_id();
  spec.unk_id = model.unk_id();
  if (spec.bos_id >= 0) spec.prefix = {spec.bos_id};  // LlamaTokenizer's default
  return spec;
}

void read_tokenizer_config(const std::filesystem::path& folder, TokenizerSpec& spec) {
  namespace fs = std::filesystem;
  std::unordered_set<std::string> known;
  for (const AddedToken& token : spec.added) known.insert(token.content);
  if (const fs::path path = find_in_folder(folder, "added_tokens.json"); !path.empty()) {
    const nlohmann::json json = schema::read_json_object(path);
    const std::string name = path.string();
    for (const auto& [content, id] : JsonView(json, name).members()) {
      if (known.count(content) != 0) continue;
      AddedToken token;
      token.id = static_cast<int32_t>(id.integer(0, kMaxVocab - 1));
      token.content = content;
      place_added_token(spec, token);
      known.insert(content);
    }
  }
  if (const fs::path path = find_in_folder(folder, "special_tokens_map.json"); !path.empty()) {
    const nlohmann::json json = schema::read_json_object(path);
    const std::string name = path.string();
    read_special_ids(JsonView(json, name), spec);
  }
  if (const fs::path path = find_in_folder(folder, "tokenizer_config.json"); !path.empty()) {
    const nlohmann::json json = schema::read_json_object(path);
    const std::string name = path.string();
    const JsonView root(json, name);
    if (const auto decoder = root.find("added_tokens_decoder")) {
      for (const auto& [id_text, view] : decoder->members()) {
        if (id_text.empty() || id_text.size() > 8 || id_text.find_first_not_of("0123456789") != std::string::npos) {
          view.fail("the key must be a token id");
        }
        AddedToken token = read_added_token(view, std::stol(id_text));
        if (known.insert(token.content).second) place_added_token(spec, token);
      }
    }
    read_special_ids(root, spec);
    if (!spec.sentencepiece_model.empty()) read_sentencepiece_flags(root, spec);
  }
  spec.chat_template = read_folder_template(folder);
}

std::string read_folder_template(const std::filesystem::path& folder) {
  if (const auto path = find_in_folder(folder, "chat_template.jinja"); !path.empty()) return read_text(path);
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const auto path = find_in_folder(folder, name);
    if (path.empty()) continue;
    const nlohmann::json json = schema::read_json_object(path);
    const std::string file = path.string();
    if (std::string found = read_chat_template(JsonView(json, file)); !found.empty()) return found;
  }
  return "";
}

}  // namespace nibble::data
