// What a run reports: one row a logged step, described once; metrics.jsonl, the checkpoint's history and the console
// line are visitors over it.
//
// metrics.jsonl has one JSON object a line. Resuming rewinds the file to the checkpoint's step, so that a resumed run's
// file equals an uninterrupted one's in every field that the machine's speed does not enter.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace nibble::trainer {

// Whether a repeated run gives the same value.
enum class Repeats : uint8_t { kExact, kMeasured };

// An object of numbers, in order.
using NamedNumbers = std::vector<std::pair<std::string, double>>;

// A row covers the optimizer steps since the row before it. Those that were left out (skipped_steps) are in no sum of it: of a row
// with nothing else loss, tokens_per_s and step_ms are NaN, which JSON writes as null, and so is the grad_norm of a row that ends
// with one.
struct MetricsRow {
  int64_t step = 0;                  // optimizer steps made, from 1
  double epoch = 0.0;                // passes over the data made, fractional
  double loss = 0.0;                 // mean over the trained tokens of the covered steps, nats
  double grad_norm = 0.0;            // of the last covered step, before clipping
  double learning_rate = 0.0;        // of the last covered step
  int64_t tokens = 0;                // of the covered steps
  int64_t trained_tokens = 0;        // of those, with a label
  double tokens_per_s = 0.0;
  double step_ms = 0.0;              // mean
  double peak_rss_mib = 0.0;         // of the process so far
  double peak_gpu_mib = 0.0;         // 0 on a CPU
  std::optional<int64_t> skipped_steps;  // of the covered ones, those without an update; only where there are any
  std::optional<double> eval_loss;   // only where an evaluation followed the step
  // Of a paged optimizer's state: there now, and moved since the start.
  std::optional<int64_t> paged_resident_bytes, paged_prefetched_bytes, paged_evicted_bytes;
  // Of pieces of layers, since the start: recorded as graphs, repeated, run plainly. Only where cuda_graphs is used.
  std::optional<int64_t> cuda_graphs_recorded, cuda_graphs_replayed, cuda_graphs_plain;
  std::optional<double> save_blocked_ms;  // that training waited for checkpoints saved since the last row
  std::optional<NamedNumbers> memory;  // MiB in use by component: core/memory_account.h

  template <class Row, class Visitor>
  static void describe(Row& row, Visitor& visit) {
    visit("step", row.step, Repeats::kExact);
    visit("epoch", row.epoch, Repeats::kExact);
    visit("loss", row.loss, Repeats::kExact);
    visit("grad_norm", row.grad_norm, Repeats::kExact);
    visit("learning_rate", row.learning_rate, Repeats::kExact);
    visit("tokens", row.tokens, Repeats::kExact);
    visit("trained_tokens", row.trained_tokens, Repeats::kExact);
    visit("tokens_per_s", row.tokens_per_s, Repeats::kMeasured);
    visit("step_ms", row.step_ms, Repeats::kMeasured);
    visit("peak_rss_mib", row.peak_rss_mib, Repeats::kMeasured);
    visit("peak_gpu_mib", row.peak_gpu_mib, Repeats::kMeasured);
    visit("skipped_steps", row.skipped_steps, Repeats::kExact);
    visit("eval_loss", row.eval_loss, Repeats::kExact);
    visit("paged_resident_bytes", row.paged_resident_bytes, Repeats::kMeasured);
    visit("paged_prefetched_bytes", row.paged_prefetched_bytes, Repeats::kMeasured);
    visit("paged_evicted_bytes", row.paged_evicted_bytes, Repeats::kMeasured);
    visit("cuda_graphs_recorded", row.cuda_graphs_recorded, Repeats::kMeasured);
    visit("cuda_graphs_replayed", row.cuda_graphs_replayed, Repeats::kMeasured);
    visit("cuda_graphs_plain", row.cuda_graphs_plain, Repeats::kMeasured);
    visit("save_blocked_ms", row.save_blocked_ms, Repeats::kMeasured);
    visit("memory", row.memory, Repeats::kMeasured);
  }
};

// The line of metrics.jsonl, without its newline. A value that is not finite is null.
std::string metrics_line(const MetricsRow& row);
// THROWS FormatError with `path` where the line is not one of ours.
MetricsRow parse_metrics_line(const std::string& line, const std::string& path);

// Names of the fields for which two runs of the same configuration may differ.
std::vector<std::string> measured_metrics();

// metrics.jsonl, open for adding rows. Each row goes out in one write, so that a kill leaves whole lines.
class MetricsLog {
 public:
  explicit MetricsLog(const std::filesystem::path& path);  // creates or continues. THROWS IoError
  MetricsLog(const MetricsLog&) = delete;
  ~MetricsLog();

  void write(const MetricsRow& row);  // THROWS IoError, the disk being full for one
  // As rewind_metrics, of this file; further rows follow. THROWS IoError
  void rewind(int64_t step, const std::vector<MetricsRow>& history);
  void sync();                        // on disk when it returns; call it before a checkpoint counts on the rows

 private:
  void open();

  std::filesystem::path path_;
  int fd_ = -1;
};

// Of a file that nobody has open for adding rows: leaves the rows up to `step`: drops later ones, broken lines and rows out of order, and adds those rows of `history`
// (a checkpoint's) that the file has lost. Step 0 with no history empties the file. A missing file counts as empty.
// THROWS IoError
void rewind_metrics(const std::filesystem::path& path, int64_t step, const std::vector<MetricsRow>& history);

}  // namespace nibble::trainer
