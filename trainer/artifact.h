// What SRC may name on the command line: a base model, a merged folder, an adapter, a run folder or a checkpoint.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "io/adapter.h"
#include "io/weight_source.h"
#include "nn/place.h"
#include "schema/load.h"
#include "trainer/accounting.h"
#include "trainer/forward_plan.h"

namespace nibble::trainer {

struct Artifact {
  schema::RunConfig config;                       // of the run, or defaults; with --set
  std::optional<std::filesystem::path> adapter;   // the folder with adapter_config.json
};

// Finds out what `src` is. A run folder stands for its newest good checkpoint. A YAML file is a configuration: its base, and
// its adapter_name_or_path if it has one. A base model or an adapter without a run's configuration is taken as it is
// stored: load_in_4bit is false for a bare model unless --set says otherwise.
// THROWS ConfigError where it is nothing of these; FormatError where a run folder has no good checkpoint.
Artifact resolve_artifact(const std::string& src, const std::vector<std::string>& overrides);

struct OpenedModel {
  std::unique_ptr<io::WeightSource> source;
  data::Tokenizer tokenizer;
  nn::Model model;
  std::optional<io::AdapterConfig> adapter;
};

struct OpenOptions {
  ForwardShape shape = {};      // what the model will be asked; no tokens: windows of max_length
  RunMemory* memory = nullptr;  // learns the plan, and at an error what was being done
  std::function<void()> each = {};  // called again and again while it is opened, from any thread; may throw to stop
};

// Loads the base, where it fits (trainer/forward_plan.h), and the adapter, to `place`. THROWS OutOfMemoryError where no choice that
// the configuration leaves open makes it fit; what loading throws.
OpenedModel open_artifact(const Artifact& artifact, const nn::Place& place = {}, const OpenOptions& options = {});

}  // namespace nibble::trainer
