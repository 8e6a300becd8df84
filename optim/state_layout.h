// How an optimizer's state lies in its arena.
//
// A parameter's master weight, its moments and their scales lie side by side, each on a 64-byte boundary; parameters lie in
// the order given. Neighbours with the same layer number form a group (optim/state_memory.h), so that a layer's state is one
// range: what paging moves is a range of the arena.
#pragma once

#include <string>
#include <vector>

#include "optim/optimizer_config.h"
#include "optim/state_memory.h"
#include "optim/update_table.h"

namespace nibble::optim {

struct LayoutParam {
  int64_t elements = 0;
  int64_t layer = 0;
};

// One named part of a parameter's state.
struct StatePart {
  const char* suffix;  // ".master", ".exp_avg", ".exp_avg_absmax", ".exp_avg_sq", ".exp_avg_sq_absmax"
  int64_t offset;      // bytes into the arena
  int64_t bytes;
  bool is_scales;      // fp32, one a block; else one value an element:
  bool is_codes;       // 8-bit codes, else fp32
};

struct StateLayout {
  std::vector<UpdateSegment> segments;  // one a parameter, its gradient and parameter pointers not set
  std::vector<UpdateChunk> chunks;      // all segments cut into chunks, in order
  std::vector<StateGroup> groups;
  std::vector<size_t> group_chunks;     // [groups + 1]: group g has chunks group_chunks[g] .. group_chunks[g + 1] - 1
  int64_t bytes = 0;                    // of the whole arena

  std::vector<StatePart> parts(size_t segment) const;
};

// REQUIRES elements >= 0; group_alignment_bytes a power of two, at least 64.
StateLayout state_layout(const OptimizerConfig& config, const std::vector<LayoutParam>& params,
                         int64_t group_alignment_bytes = 64);

}  // namespace nibble::optim
