// nibble tokenize SRC [FILE]: what a tokenizer makes of each line, and back.
#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "trainer/artifact.h"
#include "trainer/command.h"
#include "trainer/open_tokenizer.h"

namespace nibble::trainer {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string src, file;
  bool decode = false, special = false;
};

// "12 7 3": ids between white space or commas. THROWS DataError with the line.
std::vector<int32_t> parse_ids(const std::string& text, const std::string& file, int64_t line, const data::Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  const char* const separators = " \t\r,[]";
  for (size_t at = text.find_first_not_of(separators); at != std::string::npos;) {
    const size_t end = std::min(text.find_first_of(separators, at), text.size());
    int32_t id = 0;
    const auto [stopped, error] = std::from_chars(text.data() + at, text.data() + end, id);
    if (error != std::errc() || stopped != text.data() + end || id < 0 || id >= tokenizer.vocab_size()) {
      throw DataError(fmt::format("'{}' is no token id of this model (0 to {})", text.substr(at, end - at), tokenizer.vocab_size() - 1), {file, line});
    }
    ids.push_back(id);
    at = text.find_first_not_of(separators, end);
  }
  return ids;
}

int run(const Options& options, const CommonOptions& common) {
  const Artifact artifact = resolve_artifact(options.src, common.set);
  const data::Tokenizer tokenizer = open_tokenizer(artifact.config.model_name_or_path);
  std::ifstream file;
  const bool from_file = !options.file.empty() && options.file != "-";
  if (from_file) {
    file.open(options.file, std::ios::binary);
    if (!file) throw IoError("cannot read this file", options.file, errno);
  }
  const std::string name = from_file ? options.file : "standard input";
  std::istream& in = from_file ? file : std::cin;
  Json lines = Json::array();
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    const std::vector<int32_t> ids = options.decode ? parse_ids(line, name, number, tokenizer) : tokenizer.encode(line, options.special);
    if (common.json) {
      std::vector<std::string> tokens;
      for (const int32_t id : ids) tokens.push_back(tokenizer.token(id));
      Json entry{{"ids", ids}, {"tokens", tokens}};
      if (options.decode) entry["text"] = tokenizer.decode(ids, /*skip_special_tokens=*/!options.special);
      lines.push_back(std::move(entry));
    } else if (options.decode) {
      std::cout << tokenizer.decode(ids, !options.special) << "\n";
    } else {
      std::cout << fmt::format("{}\n", fmt::join(ids, " "));
    }
  }
  if (in.bad()) throw IoError("reading failed", name, errno);
  if (common.json) std::cout << Json{{"lines", std::move(lines)}}.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  return 0;
}

}  // namespace

Command make_tokenize_command() {
  return {"tokenize", "Token ids of each line of a file, or text of ids", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto o = std::make_shared<Options>();
            app.add_option("SRC", o->src, "CONFIG, model folder, GGUF file, adapter, run or checkpoint")->required();
            app.add_option("FILE", o->file, "Text, one line each; without it, standard input");
            app.add_flag("--decode", o->decode, "The lines are ids: write their text");
            app.add_flag("--special", o->special, "Add what the tokenizer puts around a text; with --decode, show special tokens");
            return [o, &common] { return run(*o, common); };
          }};
}

}  // namespace nibble::trainer
