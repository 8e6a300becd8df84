// nibble eval CONFIG|SRC: loss and perplexity, on a text or on the configuration's validation data.
#include <CLI/CLI.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "trainer/artifact.h"
#include "trainer/command.h"
#include "trainer/evaluate.h"
#include "trainer/from_config.h"
#include "trainer/placement.h"
#include "trainer/run_data.h"
#include "trainer/stop_request.h"

namespace nibble::trainer {
namespace {

struct Options {
  std::string src, text;
  int64_t max_tokens = 0;
};

std::vector<int32_t> text_ids(const data::Tokenizer& tokenizer, const Options& options) {
  std::error_code ignored;
  if (!std::filesystem::exists(options.text, ignored)) throw DataError("no such text file", {options.text});
  std::vector<int32_t> ids = tokenizer.encode(read_text(options.text), /*add_special_tokens=*/false);
  if (options.max_tokens > 0 && static_cast<int64_t>(ids.size()) > options.max_tokens) ids.resize(static_cast<size_t>(options.max_tokens));
  if (ids.size() < 2) throw DataError("the text has fewer than two tokens: there is nothing to score", {options.text});
  return ids;
}

int run(const Options& options, const CommonOptions& common, RunMemory& memory) {
  const StopRequest stop;
  const auto check = [&] { stop.check("evaluating; nothing was changed"); };
  const Artifact artifact = resolve_artifact(options.src, common.set);
  const schema::RunConfig& config = artifact.config;
  nn::Place place = choose_place(config, [](const std::string& text) { std::cerr << text << "\n"; });
  place.account = &memory.account();
  memory.watch(place.queue);
  ForwardShape shape;
  if (options.text.empty()) shape = {config.per_device_eval_batch_size, config.max_length};
  OpenedModel opened = open_artifact(artifact, place, {shape, &memory, check});
  const int64_t window = std::min(config.max_length, opened.model.config.max_position_embeddings);
  const MemoryStage stage(place.account, "evaluating");
  nn::Pass pass(opened.model, window, place);
  const auto start = std::chrono::steady_clock::now();
  Score score;
  if (!options.text.empty()) {
    score = score_windows(pass, text_ids(opened.tokenizer, options), window, loss_chunk_tokens(config), [&](int64_t, int64_t) { check(); });
  } else {
    if (config.validation_file.empty()) {
      throw ConfigError("there is nothing to evaluate on: give --text FILE, or --set validation_file=...", {options.src});
    }
    const auto say = [](const std::string& line) { std::cerr << line << "\n"; };
    score = score_rows(pass, load_validation_data(config, opened.tokenizer, {say, check}), config.per_device_eval_batch_size, loss_chunk_tokens(config), check);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double rate = static_cast<double>(score.tokens) / seconds;
  if (!std::isfinite(score.loss())) {
    std::cerr << fmt::format("warning: the loss is {}, not finite: the model, or its adapter, computes no numbers for this text\n", std::fabs(score.loss()));
  }
  if (common.json) {
    nlohmann::ordered_json out{{"tokens", score.tokens}, {"nll", score.nll}, {"loss", score.loss()}, {"perplexity", score.perplexity()}, {"tokens_per_s", rate}};
    std::cout << out.dump() << "\n";
  } else {
    std::cout << fmt::format("{} tokens  loss {:.5f}  perplexity {:.4f}  {:.0f} tokens/s\n", score.tokens, score.loss(), score.perplexity(), rate);
  }
  return 0;
}

}  // namespace

Command make_eval_command() {
  return {"eval", "Loss and perplexity of a model, adapter, run or checkpoint", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto o = std::make_shared<Options>();
            app.add_option("SRC", o->src, "CONFIG, model folder, GGUF file, adapter, run or checkpoint; a bare model is taken as stored unless --set load_in_4bit=true")->required();
            app.add_option("--text", o->text, "Score this text, in windows of max_length tokens; else the validation data");
            app.add_option("--max-tokens", o->max_tokens, "Score only the first N tokens of the text")->check(CLI::NonNegativeNumber);
            return [o, &common] { return with_run_memory([&](RunMemory& memory) { return run(*o, common, memory); }); };
          }};
}

}  // namespace nibble::trainer
