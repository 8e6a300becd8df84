// nibble export SRC OUT: an adapter folder for PEFT, or a merged model folder for everything else.
#include <CLI/CLI.hpp>

#include <fmt/format.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/disk_space.h"
#include "core/error.h"
#include "core/file.h"
#include "io/load_model.h"
#include "io/merge.h"
#include "trainer/artifact.h"
#include "trainer/command.h"
#include "trainer/fidelity.h"
#include "trainer/from_config.h"
#include "trainer/stop_request.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string src, out, format = "adapter", merge_base = "dequantized", text;
  double max_shard_gib = 5.0;
  bool verify = false;
};

// What --verify compares the two models on where no text is given: plain English with names, numbers and code.
constexpr const char* kVerifyText =
    "The harbour master counted nineteen boats before the fog came in. By noon only twelve had answered the radio, and the "
    "ferry to the northern islands was cancelled. \"Wait until the bell rings twice,\" she told the crew, \"then follow the "
    "lights on the east pier.\"\n\nQuestion: A train leaves at 9:40 and arrives at 11:05. How long is the journey?\nAnswer: "
    "From 9:40 to 11:05 are 85 minutes, that is 1 hour and 25 minutes.\n\ndef area(width, height):\n    return width * height\n";

int64_t folder_bytes(const fs::path& folder) {
  int64_t sum = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) sum += static_cast<int64_t>(entry.file_size());
  }
  return sum;
}

constexpr const char* kAdapterFiles[] = {"adapter_config.json", "adapter_model.safetensors"};

void export_adapter(const io::WeightSource& source, const Artifact& artifact, const fs::path& out, const StopRequest& stop) {
  const io::Adapter adapter = io::read_adapter(*artifact.adapter, source.config());  // every tensor checked
  io::expect_replaceable(out, *artifact.adapter);
  int64_t bytes = 0;
  for (const char* name : kAdapterFiles) bytes += static_cast<int64_t>(fs::file_size(*artifact.adapter / name));
  expect_disk_space(out, bytes, "the adapter", "free some space, or name a folder on another disk");
  StagedFolder staged(out);
  for (const char* name : kAdapterFiles) {
    const MappedFile from(*artifact.adapter / name);
    FileWriter to(staged.path() / name);
    to.write(from.bytes());
    to.close();
  }
  stop.check("exporting; nothing was written");
  staged.commit();
  io::read_adapter(out, source.config());  // what was written is what a reader will see
}

void export_merged(const io::WeightSource& source, const Artifact& artifact, const Options& options, const StopRequest& stop) {
  const io::Adapter adapter = io::read_adapter(*artifact.adapter, source.config());
  io::MergeOptions merge;
  merge.base = options.merge_base == "original" ? io::MergeBase::kOriginal : io::MergeBase::kDequantized;
  merge.quant = quant_config(artifact.config);
  merge.compute_dtype = compute_dtype(artifact.config);
  merge.max_shard_bytes = std::max<int64_t>(1, static_cast<int64_t>(options.max_shard_gib * 1024.0 * 1024.0 * 1024.0));
  merge.progress = [&](int64_t, int64_t) { stop.check("merging; nothing was written"); };
  io::merge_adapter(source, adapter, options.out, merge);
}

// The trained model against the exported folder, as a consumer would load it.
Fidelity verify(const Artifact& artifact, const Options& options, const StopRequest& stop, RunMemory& memory) {
  const auto check = [&] { stop.check(fmt::format("comparing the models; {} is complete", options.out)); };
  nn::Place place;
  place.account = &memory.account();
  const MemoryStage stage(place.account, "comparing the exported model with the trained one");
  OpenedModel trained = open_artifact(artifact, place, {{}, nullptr, check});
  Artifact merged;
  merged.config = artifact.config;
  merged.config.model_name_or_path = options.out;
  merged.config.load_in_4bit = false;
  OpenedModel exported = open_artifact(merged, place, {{}, nullptr, check});
  const std::string text = options.text.empty() ? kVerifyText : read_text(options.text);
  std::vector<int32_t> ids = trained.tokenizer.encode(text, /*add_special_tokens=*/false);
  constexpr size_t kWindow = 256, kWindows = 16;
  std::vector<std::vector<int32_t>> windows;
  for (size_t begin = 0; begin + 1 < ids.size() && windows.size() < kWindows; begin += kWindow) {
    windows.emplace_back(ids.begin() + static_cast<int64_t>(begin), ids.begin() + static_cast<int64_t>(std::min(begin + kWindow, ids.size())));
  }
  if (windows.empty()) throw DataError("the text for --verify has fewer than two tokens", {options.text});
  return compare_models(trained.model, exported.model, windows, check);
}

int run(const Options& options, const CommonOptions& common, RunMemory& memory) {
  const StopRequest stop;
  const MemoryStage stage(&memory.account(), "exporting");
  const auto start = std::chrono::steady_clock::now();
  const Artifact artifact = resolve_artifact(options.src, common.set);
  if (!artifact.adapter) throw ConfigError("has no adapter to export; name a run, a checkpoint or an adapter folder", {options.src});
  const auto source = io::open_weight_source(artifact.config.model_name_or_path);
  const bool merged = options.format == "merged";
  if (merged) {
    export_merged(*source, artifact, options, stop);
  } else {
    export_adapter(*source, artifact, options.out, stop);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::optional<Fidelity> fidelity;
  if (options.verify) {
    if (!merged) throw ConfigError("--verify compares a merged model with the trained one; add --format merged (an adapter is checked anyway)");
    fidelity = verify(artifact, options, stop, memory);
  }
  const int64_t bytes = folder_bytes(options.out);
  if (common.json) {
    nlohmann::ordered_json out{{"out", options.out}, {"format", options.format}, {"bytes", bytes}, {"seconds", seconds}, {"fidelity", nullptr}};
    if (fidelity) {
      out["fidelity"] = {{"tokens", fidelity->tokens}, {"kl", fidelity->kl}, {"max_kl", fidelity->max_kl}, {"top1_agreement", fidelity->top1_agreement},
                         {"trained_loss", fidelity->trained_loss}, {"exported_loss", fidelity->exported_loss}};
    }
    std::cout << out.dump() << "\n";
    return 0;
  }
  std::cout << fmt::format("{}: {} folder, {:.1f} MiB, {:.1f} s\n", options.out, options.format, static_cast<double>(bytes) / 1048576.0, seconds);
  if (fidelity) {
    std::cout << fmt::format("against the trained model on {} tokens: mean KL {:.2e} nats (largest {:.2e}), same first choice {:.1f}%, loss {:.4f} "
                             "trained, {:.4f} exported\n", fidelity->tokens, fidelity->kl, fidelity->max_kl, 100 * fidelity->top1_agreement,
                             fidelity->trained_loss, fidelity->exported_loss);
  }
  return 0;
}

}  // namespace

Command make_export_command() {
  return {"export", "Write an adapter folder or a merged model folder", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto o = std::make_shared<Options>();
            app.add_option("SRC", o->src, "A run, a checkpoint or an adapter folder")->required();
            app.add_option("OUT", o->out, "The folder to write; an earlier export is replaced")->required();
            app.add_option("--format", o->format, "adapter (PEFT) or merged (Hugging Face, bf16)")->check(CLI::IsMember({"adapter", "merged"}))->capture_default_str();
            app.add_option("--merge-base", o->merge_base, "dequantized: what the adapter was trained on; original: the base's own precision")
                ->check(CLI::IsMember({"dequantized", "original"}))->capture_default_str();
            app.add_option("--max-shard-gib", o->max_shard_gib, "Largest weight file")->check(CLI::Range(1e-6, 1e6))->capture_default_str();
            app.add_flag("--verify", o->verify, "Load the merged folder and print how far it is from the trained model");
            app.add_option("--text", o->text, "Text for --verify; else a built-in one");
            return [o, &common] { return with_run_memory([&](RunMemory& memory) { return run(*o, common, memory); }); };
          }};
}

}  // namespace nibble::trainer
