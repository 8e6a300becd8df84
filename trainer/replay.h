// nibble train --replay DIR: a recorded step (trainer/black_box.h) once more.
//
// Base, data and configuration are opened as a run opens them, the state is the record's own checkpoint, and the step is made up to
// its update. Nothing is written, into the run's folder or elsewhere but for temporary files, so that the run may be running, and the
// folder may have moved.
#pragma once

#include <filesystem>
#include <string>

#include "trainer/black_box.h"
#include "trainer/command.h"

namespace nibble::trainer {

struct Replay {
  BlackBox recorded;
  BlackBox now;             // what comes out now; of the machine and the step, not of what was done about it
  bool repeats() const {
    return now.reason == recorded.reason && now.loss_bits == recorded.loss_bits && now.grad_norm_bits == recorded.grad_norm_bits;
  }
};

// What it means that the step comes out the same, or not: one or two sentences.
std::string replay_verdict(const Replay& replay);
// Recorded and now, the verdict, a table of norms by layer, the documents.
std::string replay_text(const Replay& replay);
// {"repeats", "verdict", "recorded", "now"}: the last two as black_box.json has them.
std::string replay_json(const Replay& replay);

// Prints it on stdout. -> 0 where the step comes out as recorded, bit for bit, else 1. THROWS ConfigError where the folder is no record,
// or data or base are not those of the record; FormatError where the record is damaged.
int replay_step(const std::filesystem::path& folder, const CommonOptions& common);

}  // namespace nibble::trainer
