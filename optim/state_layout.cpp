#include "optim/state_layout.h"

#include "core/round_up.h"

namespace nibble::optim {
namespace {

constexpr int64_t kPartAlignment = 64;  // bytes: a cache line, and any vector

int64_t moment_blocks(int64_t elements) { return ceil_div(elements, kMomentBlock); }

}  // namespace

StateLayout state_layout(const OptimizerConfig& config, const std::vector<LayoutParam>& params,
                         int64_t group_alignment_bytes) {
  const OptimizerKind kind = optimizer_kind(config.optim);
  StateLayout layout;
  int64_t end = 0;
  const auto place = [&](int64_t bytes) {
    const int64_t offset = end;
    end = round_up(offset + bytes, kPartAlignment);
    return offset;
  };
  for (size_t i = 0; i < params.size(); ++i) {
    const int64_t n = params[i].elements;
    if (i == 0 || params[i].layer != params[i - 1].layer) {
      end = round_up(end, group_alignment_bytes);
      layout.groups.push_back({end, 0});
      layout.group_chunks.push_back(layout.chunks.size());
    }
    const bool eight_bit = kind.eight_bit && n >= config.min_8bit_elements;
    const int64_t moment_bytes = n * (eight_bit ? 1 : 4), scale_bytes = moment_blocks(n) * 4;
    UpdateSegment segment;
    segment.n = n;
    segment.master = place(n * 4);
    segment.m = place(moment_bytes);
    if (eight_bit) segment.absmax_m = place(scale_bytes);
    if (kind.moments == 2) {
      segment.v = place(moment_bytes);
      if (eight_bit) segment.absmax_v = place(scale_bytes);
    }
    for (int64_t begin = 0; begin < n; begin += kChunkElements) {
      layout.chunks.push_back({begin, static_cast<int64_t>(layout.segments.size())});
    }
    layout.segments.push_back(segment);
    layout.groups.back().bytes = end - layout.groups.back().offset;
  }
  layout.group_chunks.push_back(layout.chunks.size());
  layout.bytes = end;
  return layout;
}

std::vector<StatePart> StateLayout::parts(size_t index) const {
  const UpdateSegment& segment = segments[index];
  const bool eight_bit = segment.absmax_m >= 0;
  const int64_t fp32_bytes = segment.n * 4, moment_bytes = eight_bit ? segment.n : fp32_bytes;
  const int64_t scale_bytes = moment_blocks(segment.n) * 4;
  std::vector<StatePart> parts{{".master", segment.master, fp32_bytes, false, false},
                               {".exp_avg", segment.m, moment_bytes, false, eight_bit}};
  if (eight_bit) parts.push_back({".exp_avg_absmax", segment.absmax_m, scale_bytes, true, false});
  if (segment.v >= 0) {
    parts.push_back({".exp_avg_sq", segment.v, moment_bytes, false, eight_bit});
    if (eight_bit) parts.push_back({".exp_avg_sq_absmax", segment.absmax_v, scale_bytes, true, false});
  }
  return parts;
}

}  // namespace nibble::optim
