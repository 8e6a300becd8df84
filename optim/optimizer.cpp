#include "optim/optimizer.h"

#include <fmt/format.h>

#include <limits>
#include <stdexcept>
#include <unordered_set>

#include "optim/adamw_cpu.h"
#include "optim/adamw_math.h"
#include "optim/clip_cpu.h"
#include "optim/lion_cpu.h"
#include "optim/lion_math.h"
#include "optim/moment8_tables.h"
#include "optim/plain_memory.h"

namespace nibble::optim {
namespace {

// A rule's code: the one place that lists all of them.
struct RuleCode {
  UpdateScalars (*scalars)(const UpdateConfig& config, double lr, int64_t step);
  void (*cpu)(const UpdateSpan& span, const UpdateScalars& scalars, const MomentTables& tables, quant::Isa isa);
  UpdateLine cuda;
};

RuleCode rule_code(UpdateRule rule) {
  switch (rule) {
    case UpdateRule::kAdamWTorch: return {AdamWTorch::scalars, adamw_torch_cpu, &CudaTable::adamw_torch};
    case UpdateRule::kAdamWBnb: return {AdamWBnb::scalars, adamw_bnb_cpu, &CudaTable::adamw_bnb};
    case UpdateRule::kLion: return {Lion::scalars, lion_cpu, &CudaTable::lion};
  }
  throw std::invalid_argument("no such optimizer");
}

void check(const ParamRef& p, bool on_cpu) {
  const auto refuse = [&](const char* what) {
    throw std::invalid_argument(fmt::format("optimizer parameter '{}': {}", p.name, what));
  };
  if (!p.param.defined() || !p.grad.defined()) refuse("parameter or gradient is undefined");
  if (p.param.scalar_type() != at::kBFloat16 && p.param.scalar_type() != at::kFloat) refuse("neither bf16 nor fp32");
  if (p.grad.scalar_type() != at::kFloat) refuse("its gradient is not fp32");
  if (p.param.sizes() != p.grad.sizes()) refuse("its gradient has another shape");
  if (p.param.numel() == 0) refuse("it has no elements");
  if (!p.param.is_contiguous() || !p.grad.is_contiguous()) refuse("not contiguous");
  if (on_cpu && (!p.param.is_cpu() || !p.grad.is_cpu())) refuse("not on the CPU");
}

std::vector<LayoutParam> layout_params(const std::vector<ParamRef>& params) {
  std::vector<LayoutParam> all;
  for (const ParamRef& p : params) all.push_back({p.param.numel(), p.layer});
  return all;
}

Tensor empty_state(const StateInfo& info) { return at::empty(info.shape, info.is_codes ? at::kByte : at::kFloat); }

// A tensor of the device as one of the host.
Tensor to_host(const Tensor& t, const gpu::Queue& queue) {
  if (!queue) return t;
  Tensor host = at::empty(t.sizes(), t.scalar_type());
  queue.module->runtime->copy(host.data_ptr(), t.const_data_ptr(), static_cast<int64_t>(t.nbytes()), queue.stream);
  queue.module->runtime->synchronize(queue.stream);
  return host;
}

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, std::vector<ParamRef> params, std::unique_ptr<StateMemory> memory,
                     const gpu::Queue& queue)
    : config_(config),
      kind_(optimizer_kind(config.optim)),
      params_(std::move(params)),
      queue_(queue),
      memory_(memory ? std::move(memory) : plain_memory(queue)) {
  std::unordered_set<std::string> names;
  for (const ParamRef& p : params_) {
    check(p, !queue_);
    if (!names.insert(p.name).second) {
      throw std::invalid_argument(fmt::format("optimizer parameter '{}' is there twice", p.name));
    }
  }
  layout_ = state_layout(config_, layout_params(params_), memory_->group_alignment_bytes());
  memory_->reserve(layout_.groups);
  for (size_t i = 0; i < params_.size(); ++i) {
    UpdateSegment& segment = layout_.segments[i];
    segment.gradient = params_[i].grad.const_data_ptr<float>();
    segment.parameter = params_[i].param.data_ptr();
    segment.parameter_is_bf16 = params_[i].param.scalar_type() == at::kBFloat16;
    const Tensor master = to_host(params_[i].param, queue_).to(at::kFloat);
    memory_->write(segment.master, static_cast<int64_t>(master.nbytes()), master.const_data_ptr());
  }
  if (queue_) {
    device_.emplace(queue_, layout_);
  } else {
    chunk_sums_.resize(layout_.chunks.size());
  }
}

StepNumbers Optimizer::numbers(double lr) const {
  StepNumbers numbers;
  numbers.step = steps_ + 1;
  numbers.scalars = rule_code(kind_.rule).scalars(config_, lr, numbers.step);
  return numbers;
}

void Optimizer::step(double lr, int64_t trained_tokens, double max_grad_norm) {
  if (trained_tokens < 1) throw std::invalid_argument("a step without trained tokens has no gradient");
  StepNumbers next = numbers(lr);
  next.tokens = static_cast<double>(trained_tokens);
  next.max_grad_norm = max_grad_norm;
  if (device_) {
    device_->begin(next);
    update();
    steps_ = next.step;
    return;
  }
  const auto chunks = static_cast<int64_t>(layout_.chunks.size());
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const UpdateChunk& chunk = layout_.chunks[i];
      const UpdateSegment& segment = layout_.segments[static_cast<size_t>(chunk.segment)];
      chunk_sums_[i] = chunk_square_sum_cpu(segment.gradient + chunk.begin, chunk_count(segment, chunk));
    }
  });
  begin_step(next, total_square_sum_cpu(chunk_sums_.data(), chunks), state_);
  if (state_.refused_step != 0) return;
  update();
  steps_ = next.step;
}

void Optimizer::update() {
  for (size_t first = 0; first < layout_.groups.size();) {
    const StateWindow window = memory_->before_update(first);
    const int64_t window_offset = layout_.groups[first].offset;
    const size_t next = first + window.groups;
    const size_t chunk_begin = layout_.group_chunks[first], chunk_end = layout_.group_chunks[next];
    if (device_) {
      device_->update(rule_code(kind_.rule).cuda, window, window_offset, chunk_begin, chunk_end);
    } else {
      update_chunks(window, window_offset, chunk_begin, chunk_end);
    }
    memory_->after_update(first, window.groups);
    first = next;
  }
}

void Optimizer::update_chunks(const StateWindow& window, int64_t window_offset, size_t chunk_begin, size_t chunk_end) const {
  const auto update = rule_code(kind_.rule).cpu;
  const quant::Isa isa = quant::best_isa();
  at::parallel_for(static_cast<int64_t>(chunk_begin), static_cast<int64_t>(chunk_end), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const UpdateChunk& chunk = layout_.chunks[i];
      const UpdateSegment& segment = layout_.segments[static_cast<size_t>(chunk.segment)];
      update(span_of(segment, chunk, window.address, window_offset), state_.scalars, moment_tables(), isa);
    }
  });
}

void Optimizer::rehearse() {
  if (device_) {
    StepNumbers none = numbers(0.0);
    none.tokens = std::numeric_limits<double>::quiet_NaN();  // so the mean gradient is not finite, and the kernels refuse
    device_->begin(none);
    update();
    device_->clear();
  } else {
    for (size_t first = 0; first < layout_.groups.size();) {
      const StateWindow window = memory_->before_update(first);
      touch(first, window);
      memory_->after_update(first, window.groups);
      first += window.groups;
    }
  }
  state_ = {};
}

// Memory that was never written has no page yet: writing what is there gives it one.
void Optimizer::touch(size_t first_group, const StateWindow& window) const {
  constexpr int64_t kPageBytes = 4096;
  const StateGroup& first = layout_.groups[first_group];
  const StateGroup& last = layout_.groups[first_group + window.groups - 1];
  for (int64_t at = 0; at < last.offset + last.bytes - first.offset; at += kPageBytes) {
    volatile std::byte* byte = window.address + at;
    *byte = *byte;
  }
}

StepOutcome Optimizer::outcome() {
  if (device_) {
    state_ = device_->state();
    if (state_.refused_step != 0) steps_ = state_.refused_step - 1;
  }
  return {state_.grad_norm, state_.refused_step};
}

void Optimizer::go_on() {
  if (outcome().finite()) return;
  state_ = {};
  if (device_) device_->clear();
}

StateInfo Optimizer::info(size_t index, const StatePart& part) const {
  const std::vector<int64_t> scales{part.bytes / 4};
  return {params_[index].name + part.suffix, part.is_scales ? scales : params_[index].param.sizes().vec(), part.is_codes};
}

std::vector<StateInfo> Optimizer::state_info() const {
  std::vector<StateInfo> all;
  for (size_t i = 0; i < params_.size(); ++i) {
    for (const StatePart& part : layout_.parts(i)) all.push_back(info(i, part));
  }
  return all;
}

void Optimizer::each_state(const StateVisit& visit) const {
  for (size_t i = 0; i < params_.size(); ++i) {
    for (const StatePart& part : layout_.parts(i)) {
      const StateInfo what = info(i, part);
      const Tensor state = empty_state(what);
      memory_->read(part.offset, part.bytes, state.data_ptr());
      visit(what.name, state);
    }
  }
}

void Optimizer::copy_state(std::byte* to) const { memory_->read(0, layout_.bytes, to); }

void Optimizer::each_state_of(const std::byte* copy, const StateVisit& visit) const {
  for (size_t i = 0; i < params_.size(); ++i) {
    for (const StatePart& part : layout_.parts(i)) {
      const StateInfo what = info(i, part);
      // LibTorch has no tensor of constant bytes; a visitor only reads.
      visit(what.name, at::from_blob(const_cast<std::byte*>(copy) + part.offset, what.shape, what.is_codes ? at::kByte : at::kFloat));
    }
  }
}

void Optimizer::restore(int64_t steps, const StateVisit& fill) {
  if (steps < 0) throw std::invalid_argument("an optimizer cannot have made a negative number of steps");
  for (size_t i = 0; i < params_.size(); ++i) {
    for (const StatePart& part : layout_.parts(i)) {
      const StateInfo what = info(i, part);
      const Tensor state = empty_state(what);
      fill(what.name, state);
      memory_->write(part.offset, part.bytes, state.const_data_ptr());
      if (part.offset == layout_.segments[i].master) write_parameter(params_[i], state);
    }
  }
  steps_ = steps;
  state_ = {};
  if (device_) device_->clear();
}

void Optimizer::write_parameter(const ParamRef& p, const Tensor& master) const {
  if (!queue_) {
    p.param.copy_(master);
    return;
  }
  const Tensor rounded = master.to(p.param.scalar_type());
  queue_.module->runtime->copy(p.param.data_ptr(), rounded.const_data_ptr(), static_cast<int64_t>(rounded.nbytes()),
                               queue_.stream);
  queue_.module->runtime->synchronize(queue_.stream);
}

}  // namespace nibble::optim
