// The optimizers: AdamW and Lion with fp32 or 8-bit state, on the CPU or on a device, in plain or paged memory.
//
// All state lies in one arena (optim/state_layout.h). Each parameter has an fp32 master weight in it, and the parameter that
// the model reads is always the rounded master: bf16 alone would lose most updates. Which arithmetic: optim/adamw_math.h,
// optim/lion_math.h, and docs/numerics.md.
//
// A step whose gradient is not finite changes nothing, nor does any step after it until go_on() is called: what a checkpoint
// would hold stays that of the last good step. On a device nobody waits for that: step() queues at most five launches (norm, head, one update a
// window of memory), and outcome() looks when it is time to look.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "optim/device_step.h"
#include "optim/state_layout.h"
#include "optim/state_memory.h"
#include "tensor/torch.h"

namespace nibble::optim {

struct ParamRef {
  std::string name;   // "model.layers.0.self_attn.q_proj.lora_A.weight"
  Tensor param;       // any shape, bf16 or fp32; written by every step
  Tensor grad;        // same shape, fp32; read by every step
  int64_t layer = 0;  // parameters of one layer that follow each other are paged together
};

// How a step went.
struct StepOutcome {
  double grad_norm = 0.0;    // of the mean gradient per trained token, before clipping
  int64_t refused_step = 0;  // 0, or the step, counted from 1, whose gradient was not finite
  bool finite() const { return refused_step == 0; }
};

// A tensor of the state, without its values.
struct StateInfo {
  std::string name;             // the parameter's and a part's: StatePart::suffix
  std::vector<int64_t> shape;   // the parameter's; of scales [blocks]
  bool is_codes;                // uint8, else fp32
};

class Optimizer {
 public:
  // Takes the parameters' present values as masters; moments start at zero. The tensors' storage is shared, not copied, and
  // its place must not change. `memory` holds the state; null: plain memory. With a queue, parameters, gradients and
  // memory are the device's, and all work is ordered by the queue's stream.
  // THROWS std::invalid_argument for another dtype, unequal shapes, tensors that are empty, not contiguous or (without a
  // queue) not on the CPU, or a name that occurs twice; what the memory throws; CudaError
  Optimizer(const OptimizerConfig& config, std::vector<ParamRef> params, std::unique_ptr<StateMemory> memory = nullptr,
            const gpu::Queue& queue = {});

  // One update with gradients that are sums over `trained_tokens` tokens, clipped to a norm of max_grad_norm per token
  // (<= 0: not clipped). NUMERICS the same bits for every number of threads, instruction set, memory, and on CUDA.
  // THROWS std::invalid_argument where trained_tokens < 1: such a step has no gradient; CudaError, IoError
  void step(double lr, int64_t trained_tokens, double max_grad_norm);

  // Goes through a step that changes nothing: all state comes to where updates happen, window by window, and all of it is
  // touched; on a device everything is launched. So no later step needs memory that this one did not. REQUIRES no step whose
  // outcome() nobody has seen. THROWS CudaError, IoError
  void rehearse();

  // Of the last step; on a device, waits for it.
  StepOutcome outcome();

  // Takes steps again after one was refused: that one and those after it count as if they had not been asked for, so that the next
  // step is the one after the last update. Without a refusal, nothing changes. On a device, waits. THROWS CudaError
  void go_on();

  // Updates made so far. On a device, a refused step is not known, and counted, until outcome() has looked.
  int64_t steps() const { return steps_; }
  int64_t state_bytes() const { return layout_.bytes; }
  const std::vector<ParamRef>& params() const { return params_; }
  const OptimizerConfig& config() const { return config_; }
  StateMemory& memory() { return *memory_; }

  // Every tensor of the state, in a fixed order.
  std::vector<StateInfo> state_info() const;

  // The same with their values in host memory, to be read only and during the call only.
  using StateVisit = std::function<void(const std::string& name, const Tensor& state)>;
  void each_state(const StateVisit& visit) const;

  // All of the state as it is now, after all queued updates: state_bytes() into host memory. THROWS CudaError, IoError
  void copy_state(std::byte* to) const;
  // each_state() of such a copy, whatever the optimizer has done since. Any thread, also while step() runs on another.
  void each_state_of(const std::byte* copy, const StateVisit& visit) const;

  // Goes on where another optimizer was after `steps` updates: `fill` overwrites each tensor of each_state(), all of it;
  // the parameters are then written from their masters. THROWS std::invalid_argument where steps < 0
  void restore(int64_t steps, const StateVisit& fill);

 private:
  StepNumbers numbers(double lr) const;
  void update();
  void touch(size_t first_group, const StateWindow& window) const;
  void update_chunks(const StateWindow& window, int64_t window_offset, size_t chunk_begin, size_t chunk_end) const;
  StateInfo info(size_t index, const StatePart& part) const;
  void write_parameter(const ParamRef& p, const Tensor& master) const;

  OptimizerConfig config_;
  OptimizerKind kind_;
  std::vector<ParamRef> params_;
  gpu::Queue queue_;
  std::unique_ptr<StateMemory> memory_;
  StateLayout layout_;
  std::optional<DeviceStep> device_;   // with a queue
  std::vector<double> chunk_sums_;     // without one, as what follows: squares of each chunk's gradient
  StepState state_;
  int64_t steps_ = 0;
};

}  // namespace nibble::optim
