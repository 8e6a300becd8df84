#include "trainer/artifact.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "core/error.h"
#include "io/checkpoint.h"
#include "trainer/open_tokenizer.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;

bool sets(const std::vector<std::string>& overrides, std::string_view key) {
  return std::any_of(overrides.begin(), overrides.end(), [&](const std::string& text) {
    return text.starts_with(key) && text.size() > key.size() && text[key.size()] == '=';
  });
}

// A run's saved configuration says which base and how it was quantized; an adapter from elsewhere names its base only.
Artifact from_adapter(const fs::path& folder, const std::vector<std::string>& overrides) {
  Artifact artifact;
  artifact.adapter = folder;
  fs::path config = folder / io::kCheckpointConfigFile;
  if (fs::exists(config)) {
    artifact.config = schema::load_run_config(config, overrides, schema::Needs::kModel).config;
    return artifact;
  }
  artifact.config = schema::load_overrides(overrides, schema::Needs::kNothing).config;
  if (!sets(overrides, "model_name_or_path")) {
    artifact.config.model_name_or_path = io::read_adapter_config(folder).base_model_name_or_path;
  }
  if (artifact.config.model_name_or_path.empty()) {
    throw ConfigError("the adapter names no base model; give it with --set model_name_or_path=...", {folder.string()});
  }
  return artifact;
}

bool is_run_folder(const fs::path& path) { return fs::exists(path / "run.lock") || fs::exists(path / "metrics.jsonl"); }

}  // namespace

Artifact resolve_artifact(const std::string& src, const std::vector<std::string>& overrides) {
  const fs::path path(src);
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored) && (path.extension() == ".yaml" || path.extension() == ".yml")) {
    Artifact artifact;
    artifact.config = schema::load_run_config(path, overrides, schema::Needs::kModel).config;
    if (!artifact.config.adapter_name_or_path.empty()) artifact.adapter = artifact.config.adapter_name_or_path;
    return artifact;
  }
  if (fs::is_directory(path, ignored)) {
    if (io::is_adapter_folder(path)) {
      if (fs::exists(path / "MANIFEST.json")) {
        const io::CheckpointInfo info = io::check_checkpoint(path, io::CheckDepth::kChecksums);
        if (info.state != io::CheckpointState::kGood) {
          throw FormatError(fmt::format("the checkpoint is {}: {}", io::checkpoint_state_name(info.state), info.reason), src);
        }
      }
      return from_adapter(path, overrides);
    }
    if (is_run_folder(path)) {
      const io::NewestCheckpoint newest = io::newest_good_checkpoint(path);
      for (const io::CheckpointInfo& skipped : newest.skipped) {
        std::cerr << fmt::format("{}: skipped, it is {}: {}\n", skipped.path.string(), io::checkpoint_state_name(skipped.state), skipped.reason);
      }
      if (!newest.found) throw FormatError("the run folder has no good checkpoint yet", src);
      return from_adapter(newest.found->path, overrides);
    }
  }
  Artifact artifact;
  std::vector<std::string> all = overrides;
  if (!sets(overrides, "load_in_4bit")) all.push_back("load_in_4bit=false");
  artifact.config = schema::load_overrides(all, schema::Needs::kNothing).config;
  artifact.config.model_name_or_path = src;
  return artifact;
}

OpenedModel open_artifact(const Artifact& artifact, const nn::Place& place, const OpenOptions& options) {
  const schema::RunConfig& config = artifact.config;
  if (options.each) options.each();
  auto source = io::open_weight_source(config.model_name_or_path);
  data::Tokenizer tokenizer = open_tokenizer(*source);
  OpenedModel opened{std::move(source), std::move(tokenizer), {}, std::nullopt};
  ForwardShape shape = options.shape;
  const int64_t positions = opened.source->config().max_position_embeddings;
  if (shape.row_tokens == 0) shape = {1, config.max_length, 0, /*cut=*/false};
  shape.row_tokens = std::min(shape.row_tokens, positions);
  shape.cache_tokens = std::min(shape.cache_tokens, positions);
  const int64_t lora_r = artifact.adapter ? io::read_adapter_config(*artifact.adapter).r : 0;
  const ForwardPlan planned = plan_forward(config, *opened.source, lora_r, shape, place);
  if (options.memory != nullptr) options.memory->set_plan(planned.plan);
  {
    const MemoryStage stage(place.account, "loading the base", MemoryPart::kBase);
    opened.model = load_base(*opened.source, config, planned.base(), place, {[](const std::string& line) { std::cerr << line << "\n"; }, options.each});
  }
  if (options.each) options.each();
  if (artifact.adapter) {
    const MemoryStage stage(place.account, "attaching the adapter", MemoryPart::kAdapters);
    const io::Adapter adapter = io::read_adapter(*artifact.adapter, opened.model.config);
    io::attach_adapter(opened.model, adapter, /*dropout=*/0.0);
    opened.adapter = adapter.config;
  }
  return opened;
}

}  // namespace nibble::trainer
