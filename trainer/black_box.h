// The record of a step that went wrong: output_dir/blackbox-<step>/
//
//   black_box.json         what happened and where, a key a line, an entry of its lists a line
//   checkpoint-<step-1>/   the state before the step (io/checkpoint.h), with which `nibble train --replay` makes it again
//
// It appears whole or not at all. It is no checkpoint of the run: nothing that looks for those looks into it. A number that is not
// finite is null in JSON; what must be exact has its bits beside it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::trainer {

inline constexpr const char* kBlackBoxFile = "black_box.json";
inline constexpr int64_t kBlackBoxFormat = 1;
inline constexpr size_t kKeptBlackBoxes = 3;              // the newest of a run; each holds a checkpoint
inline constexpr int64_t kBlackBoxTokens = 32768;         // whose ids and text a box has; documents after them are named only

struct TensorRecord {
  std::string name;
  double rms = 0.0, norm = 0.0;   // of the finite values
  int64_t values = 0, non_finite = 0;

  template <class Record, class Visitor>
  static void describe(Record& r, Visitor& visit) {
    visit("name", r.name);
    visit("rms", r.rms);
    visit("norm", r.norm);
    visit("values", r.values);
    visit("non_finite", r.non_finite);
  }
};

struct PassRecord {
  int64_t tokens = 0, trained_tokens = 0;
  double loss = 0.0;              // mean, nats

  template <class Record, class Visitor>
  static void describe(Record& r, Visitor& visit) {
    visit("tokens", r.tokens);
    visit("trained_tokens", r.trained_tokens);
    visit("loss", r.loss);
  }
};

struct DocumentText {
  std::string place;              // "rows.jsonl:7"
  int64_t tokens = 0, trained_tokens = 0;
  std::optional<std::vector<int64_t>> ids;
  std::optional<std::string> trained;   // a digit a token: 1 is learned, 0 is masked
  std::optional<std::string> text;      // the ids, decoded

  template <class Record, class Visitor>
  static void describe(Record& r, Visitor& visit) {
    visit("place", r.place);
    visit("tokens", r.tokens);
    visit("trained_tokens", r.trained_tokens);
    visit("ids", r.ids);
    visit("trained", r.trained);
    visit("text", r.text);
  }
};

struct BlackBox {
  int64_t format = kBlackBoxFormat;
  std::string nibble, libtorch;   // versions
  std::string device;             // "cpu", "cuda"
  int64_t threads = 0;            // of a CPU: how a step is cut into passes may depend on them
  int64_t step = 0;               // from 1
  int64_t micro_step = 0;         // names the dropout masks
  int64_t cursor_epoch = 0, cursor_row = 0;
  uint64_t seed = 0;
  double learning_rate = 0.0;
  std::string reason;             // "loss", "gradient", "spike"
  std::string policy;             // nan_policy's or loss_spike_policy's value
  std::string done;               // "skipped", "rewound", "stopped", "trained"
  double loss = 0.0, grad_norm = 0.0;
  std::string loss_bits, grad_norm_bits;
  double watch_mean = 0.0, watch_limit = 0.0;  // of the losses before; the limit is null while too few are known
  std::optional<std::string> first_wrong;      // where the first value is that is not finite
  std::vector<PassRecord> passes;
  std::vector<TensorRecord> hidden;            // of the passes, made once more
  std::vector<TensorRecord> gradients, adapter;
  std::vector<DocumentText> documents;         // in their order

  template <class Box, class Visitor>
  static void describe(Box& b, Visitor& visit) {
    visit("format", b.format);
    visit("nibble", b.nibble);
    visit("libtorch", b.libtorch);
    visit("device", b.device);
    visit("threads", b.threads);
    visit("step", b.step);
    visit("micro_step", b.micro_step);
    visit("cursor_epoch", b.cursor_epoch);
    visit("cursor_row", b.cursor_row);
    visit("seed", b.seed);
    visit("learning_rate", b.learning_rate);
    visit("reason", b.reason);
    visit("policy", b.policy);
    visit("done", b.done);
    visit("loss", b.loss);
    visit("loss_bits", b.loss_bits);
    visit("grad_norm", b.grad_norm);
    visit("grad_norm_bits", b.grad_norm_bits);
    visit("watch_mean", b.watch_mean);
    visit("watch_limit", b.watch_limit);
    visit("first_wrong", b.first_wrong);
    visit("passes", b.passes);
    visit("hidden", b.hidden);
    visit("gradients", b.gradients);
    visit("adapter", b.adapter);
    visit("documents", b.documents);
  }
};

// A number's bits as 16 hex digits; every NaN is "nan", for which bits a NaN has is the machine's choice.
std::string bits_text(double value);

std::string black_box_name(int64_t step);  // "blackbox-12"

// Whole folders only, the one written first in front. An unreadable run folder has none.
std::vector<std::filesystem::path> list_black_boxes(const std::filesystem::path& run_folder);

// Writes run_folder/blackbox-<step>; `write_state` writes the checkpoint into the folder given. One of the same step is replaced, and
// all but the newest kKeptBlackBoxes go. -> the folder. THROWS IoError, and what write_state throws; then nothing of it is left
std::filesystem::path write_black_box(const std::filesystem::path& run_folder, const BlackBox& box,
                                      const std::function<void(const std::filesystem::path& folder)>& write_state);

// THROWS ConfigError where the folder is no black box, FormatError where its file is not ours.
BlackBox read_black_box(const std::filesystem::path& folder);

}  // namespace nibble::trainer
