// AdamW with fp32 master weights over bf16 (or fp32) parameters.
//
// All state lives in one fp32 arena. A parameter's master, first and second moment lie side by side, and parameters lie
// in the order given (layer by layer), so that a layer's state is one contiguous range: what paging moves is a range of
// the arena. Each part starts on a 64-byte boundary. The parameter that the model reads is always the rounded master.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "optim/adamw_cpu.h"
#include "tensor/torch.h"

namespace nibble::optim {

struct AdamWConfig {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
};

struct ParamRef {
  std::string name;  // "model.layers.0.self_attn.q_proj.lora_A.weight"
  Tensor param;      // any shape, bf16 or fp32; written by every step
  Tensor grad;       // same shape, fp32; read by every step
};

class AdamW {
 public:
  // Takes the parameters' present values as masters; moments start at zero. The tensors' storage is shared, not copied.
  // THROWS std::invalid_argument for another dtype, unequal shapes, tensors that are not contiguous on the CPU, or a name
  // that occurs twice.
  AdamW(const AdamWConfig& config, std::vector<ParamRef> params);

  // One update with gradient * grad_scale. NUMERICS independent of the number of threads and of the instruction set.
  void step(double lr, float grad_scale);

  int64_t steps() const { return steps_; }  // updates made so far
  int64_t state_bytes() const { return arena_.nbytes(); }
  const std::vector<ParamRef>& params() const { return params_; }

  // Every tensor of the state in a fixed order, as views in the parameter's shape, fp32: "<name>.master",
  // "<name>.exp_avg", "<name>.exp_avg_sq". Reading them makes a checkpoint; writing into them and then calling
  // restored() continues one.
  void each_state(const std::function<void(const std::string& name, const Tensor& state)>& visit) const;

  // The state was overwritten: takes the number of updates behind it and writes the parameters from the masters.
  void restored(int64_t steps);

 private:
  // Elements [begin, end) of parameter `index`.
  AdamWSpan span(size_t index, int64_t begin, int64_t end) const;
  void each_chunk(const std::function<void(const AdamWSpan&)>& visit) const;

  struct Segment {
    int64_t master, m, v;  // offsets into the arena, in elements
    int64_t n;
  };
  struct Chunk {
    size_t segment;
    int64_t begin, end;
  };
  AdamWConfig config_;
  std::vector<ParamRef> params_;
  std::vector<Segment> segments_;  // one a parameter
  std::vector<Chunk> chunks_;      // all segments cut into pieces for the threads
  Tensor arena_;                   // [elements], fp32
  int64_t steps_ = 0;
};

}  // namespace nibble::optim
