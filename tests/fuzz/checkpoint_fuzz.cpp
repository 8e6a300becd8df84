// libFuzzer target: what a checkpoint says of itself, and the metrics beside it. The first byte picks: a manifest as it is; the
// entries of a manifest (lines "NAME SIZE") in a folder that holds them, sealed with the right checksum; trainer_state.json; lines
// of metrics.jsonl. What is accepted renders and reads back as itself, and no name leads out of the folder.
//
// Units: io/checkpoint io/checkpoint_manifest trainer/run_state trainer/metrics
#include "io/checkpoint.h"

#include <fmt/format.h>

#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "io/checkpoint_manifest.h"
#include "tests/fuzz/fuzz_folder.h"
#include "trainer/run_state.h"

namespace {

using namespace nibble;
namespace fs = std::filesystem;

void read_manifest(const std::string& text) {
  const io::Manifest manifest = io::parse_manifest(text, "MANIFEST.json");
  fuzz::require(io::render_manifest(manifest) == text);
  for (const auto& [name, entry] : manifest.files) fuzz::require(fs::path(name).filename() == name && name != ".." && entry.size >= 0);
}

void check_sealed(const std::string& text) {
  io::Manifest manifest;
  manifest.step = 3;
  std::istringstream lines(text);
  std::string name;
  for (int64_t size = 0; lines >> name >> size;) manifest.files[name] = {size, xxh3_128(name)};
  const fs::path checkpoint = fuzz::folder().path() / io::checkpoint_name(3);
  fs::create_directories(checkpoint);
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors", io::kOptimizerFile, io::kTrainerStateFile, io::kCheckpointConfigFile}) {
    fuzz::folder().put(fmt::format("{}/{}", io::checkpoint_name(3), file), file);
  }
  std::string sealed;
  try {
    sealed = io::render_manifest(manifest);
  } catch (const std::exception&) {
    return;  // a name that is not UTF-8 is no JSON, and so is no manifest of ours
  }
  fuzz::folder().put(fmt::format("{}/{}", io::checkpoint_name(3), io::kManifestFile), sealed);
  const io::CheckpointInfo info = io::check_checkpoint(checkpoint, io::CheckDepth::kChecksums);
  fuzz::require(info.state == io::CheckpointState::kGood || !info.reason.empty());
  fuzz::require(io::list_checkpoints(fuzz::folder().path(), io::CheckDepth::kSizes).size() == 1);
}

void read_state(const std::string& text) {
  const trainer::RunState state = trainer::parse_run_state(text, "trainer_state.json");
  fuzz::require(!state.best_model_checkpoint || io::checkpoint_step(*state.best_model_checkpoint).has_value());
  const std::string rendered = trainer::run_state_json(state);
  fuzz::require(trainer::run_state_json(trainer::parse_run_state(rendered, "trainer_state.json")) == rendered);
}

void read_metrics(const std::string& text) {
  const fs::path file = fuzz::folder().put("metrics.jsonl", text);
  trainer::rewind_metrics(file, 1000, {});
  const std::string kept = read_text(file);
  trainer::rewind_metrics(file, 1000, {});
  fuzz::require(read_text(file) == kept);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  const std::string text(fuzz::text_of(bytes + 1, size - 1));
  try {
    switch (bytes[0] % 4) {
      case 0: read_manifest(text); break;
      case 1: check_sealed(text); break;
      case 2: read_state(text); break;
      case 3: read_metrics(text); break;
    }
  } catch (const FormatError& error) {
    fuzz::require(!error.message().empty());
  }
  return 0;
}
