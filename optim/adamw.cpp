#include "optim/adamw.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <unordered_set>

namespace nibble::optim {
namespace {

constexpr int64_t kAlign = 16;      // elements: 64 bytes
constexpr int64_t kChunk = 32768;   // elements a thread takes at a time; 12 to 28 bytes each, so that a chunk fits in L2

int64_t aligned(int64_t elements) { return (elements + kAlign - 1) / kAlign * kAlign; }

void check(const ParamRef& p) {
  const auto refuse = [&](const char* what) {
    throw std::invalid_argument(fmt::format("AdamW parameter '{}': {}", p.name, what));
  };
  if (!p.param.defined() || !p.grad.defined()) refuse("parameter or gradient is undefined");
  if (p.param.scalar_type() != at::kBFloat16 && p.param.scalar_type() != at::kFloat) refuse("neither bf16 nor fp32");
  if (p.grad.scalar_type() != at::kFloat) refuse("its gradient is not fp32");
  if (p.param.sizes() != p.grad.sizes()) refuse("its gradient has another shape");
  if (!p.param.is_contiguous() || !p.grad.is_contiguous()) refuse("not contiguous");
  if (!p.param.is_cpu() || !p.grad.is_cpu()) refuse("not on the CPU");
}

}  // namespace

AdamW::AdamW(const AdamWConfig& config, std::vector<ParamRef> params) : config_(config), params_(std::move(params)) {
  std::unordered_set<std::string> names;
  int64_t offset = 0;
  for (const ParamRef& p : params_) {
    check(p);
    if (!names.insert(p.name).second) {
      throw std::invalid_argument(fmt::format("AdamW parameter '{}' is there twice", p.name));
    }
    const int64_t n = p.param.numel(), stride = aligned(n);
    for (int64_t begin = 0; begin < n; begin += kChunk) {
      chunks_.push_back({segments_.size(), begin, std::min(n, begin + kChunk)});
    }
    segments_.push_back({offset, offset + stride, offset + 2 * stride, n});
    offset += 3 * stride;
  }
  arena_ = at::zeros({offset}, at::kFloat);
  for (size_t i = 0; i < params_.size(); ++i) {
    arena_.narrow(0, segments_[i].master, segments_[i].n).copy_(params_[i].param.flatten());
  }
}

AdamWSpan AdamW::span(size_t index, int64_t begin, int64_t end) const {
  const Segment& segment = segments_[index];
  const ParamRef& p = params_[index];
  auto* state = arena_.data_ptr<float>();
  const bool bf16 = p.param.scalar_type() == at::kBFloat16;
  return {state + segment.master + begin,
          state + segment.m + begin,
          state + segment.v + begin,
          p.grad.const_data_ptr<float>() + begin,
          bf16 ? static_cast<uint16_t*>(p.param.data_ptr()) + begin : nullptr,
          bf16 ? nullptr : p.param.data_ptr<float>() + begin,
          end - begin};
}

void AdamW::each_chunk(const std::function<void(const AdamWSpan&)>& visit) const {
  at::parallel_for(0, static_cast<int64_t>(chunks_.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      visit(span(chunks_[i].segment, chunks_[i].begin, chunks_[i].end));
    }
  });
}

void AdamW::step(double lr, float grad_scale) {
  ++steps_;
  const AdamWScalars scalars = adamw_scalars(lr, config_.beta1, config_.beta2, config_.epsilon, config_.weight_decay,
                                             steps_, grad_scale);
  const AdamWIsa isa = best_adamw_isa();
  each_chunk([&](const AdamWSpan& s) { adamw_cpu(s, scalars, isa); });
}

void AdamW::each_state(const std::function<void(const std::string&, const Tensor&)>& visit) const {
  for (size_t i = 0; i < params_.size(); ++i) {
    const Segment& segment = segments_[i];
    const auto view = [&](int64_t offset) { return arena_.narrow(0, offset, segment.n).view(params_[i].param.sizes()); };
    visit(params_[i].name + ".master", view(segment.master));
    visit(params_[i].name + ".exp_avg", view(segment.m));
    visit(params_[i].name + ".exp_avg_sq", view(segment.v));
  }
}

void AdamW::restored(int64_t steps) {
  if (steps < 0) throw std::invalid_argument("AdamW cannot have made a negative number of steps");
  steps_ = steps;
  each_chunk([](const AdamWSpan& s) { adamw_round_cpu(s); });
}

}  // namespace nibble::optim
