// What a finished run says about itself: one JSON object, or one line.
#pragma once

#include <string>
#include <vector>

#include "trainer/accounting.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/run_state.h"
#include "trainer/stop_request.h"
#include "trainer/train_loop.h"

namespace nibble::trainer {

struct RunResult {
  std::string output_dir;
  const RunState& state;
  const LoopResult& loop;
  const RunMemory& memory;
  SaveTime save;                // the longest
  double load_s = 0.0;          // of model and optimizer
  double ready_s = 0.0;         // from process start until the first batch could go in
  double peak_rss_mib = 0.0;
  const StopRequest& stop;      // what ended it, where it was interrupted
};

// {"output_dir", "global_step", "train_loss", "eval_loss", "tokens_per_s", "first_step_s", "load_s", "ready_s",
//  "peak_rss_mib", "peak_gpu_mib", "save_blocked_ms", "save_s", "plan_bytes", "measured_bytes", "memory_peak_mib": {component: MiB}, "skipped_steps",
//  "interrupted", "stopped_by": "SIGTERM", "SIGINT", "SIGHUP", "max_time" or null}; a loss that is not known is null.
std::string result_json(const RunResult& result);
// "trained 60 steps, loss 1.2345, 812 tokens/s, peak 640 MiB: runs/demo/checkpoint-60"
std::string result_text(const RunResult& result);
// Of an interrupted run: what ended it, what was saved, how to go on; and where max_time left no time for a step, that.
std::vector<std::string> describe_stop(const RunResult& result);

}  // namespace nibble::trainer
