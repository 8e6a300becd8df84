#include "trainer/plan_speed.h"

#include <algorithm>
#include <chrono>

#include "nn/torch_ops.h"
#include "tensor/torch.h"

namespace nibble::trainer {
namespace {

constexpr double kGb = 1e9, kTera = 1e12;

// PCI Express 4.0 with 16 lanes and pinned memory, as it is measured rather than specified.
constexpr double kHostLink = 25 * kGb;
// Of the peak that vendors state, what a whole step of training reaches: GEMMs reach 85 to 95 %.
constexpr double kShareOfPeak = 0.8;

// Of a machine's memory and disk where nothing was measured: two channels of DDR5 and a solid-state disk.
constexpr double kCpuMemory = 32 * kGb, kDisk = 2 * kGb;

// Cores that share a pass wait for one another; those with one each do not (measured: docs/benchmarks.md).
constexpr double kSharedPass = 1.08;

int64_t micro_batch_tokens(const PlanInput& in) { return in.rows > 0 ? in.rows * in.row_tokens : in.pass_tokens; }

// Operations of one token in one layer.
struct LayerFlops {
  double forward = 0, backward = 0, rebuild_mlp = 0, rebuild_layer = 0;
};

struct Weights {
  double layer = 0, gate_up = 0, down = 0;
};

Weights weights_of(const nn::ModelConfig& c) {
  Weights w;
  for (int p = 0; p < nn::kProjections; ++p) {
    const auto projection = static_cast<nn::Projection>(p);
    const nn::LinearShape shape = nn::projection_shape(c, projection);
    const auto elements = static_cast<double>(shape.out * shape.in);
    w.layer += elements;
    if (projection == nn::Projection::kGate || projection == nn::Projection::kUp) w.gate_up += elements;
    if (projection == nn::Projection::kDown) w.down += elements;
  }
  return w;
}

LayerFlops layer_flops(const PlanInput& in, const Weights& w) {
  const nn::ModelConfig& c = in.model;
  const auto longest = static_cast<double>(in.longest_tokens > 0 ? in.longest_tokens : in.pass_tokens);
  const double attention = 2 * longest * static_cast<double>(c.q_width());  // causal: half of 4 T q
  const double adapters = static_cast<double>(adapter_parameters(in)) / static_cast<double>(c.num_hidden_layers);
  LayerFlops f;
  f.forward = 2 * w.layer + 2 * adapters + attention;
  f.backward = 2 * w.layer + 4 * adapters + 2.5 * attention;
  const double rebuilt_adapters = w.layer > 0 ? 2 * adapters / w.layer : 0;
  f.rebuild_mlp = w.gate_up * (2 + rebuilt_adapters);
  f.rebuild_layer = (w.layer - w.down) * (2 + rebuilt_adapters) + attention;
  return f;
}

// Seconds of the passes over the layers, the base's arrival included.
double layers_seconds(const PlanInput& in, const HardwareSpeed& speed, double tokens, double passes) {
  const nn::ModelConfig& c = in.model;
  const Weights w = weights_of(c);
  const LayerFlops f = layer_flops(in, w);
  const auto e = static_cast<double>(in.element_bytes);
  // Decoding reads a packed weight and writes it in the compute dtype; a dense one is there.
  const double decode_bytes = in.load_in_4bit ? static_cast<double>(layer_base_bytes(in)) / w.layer + e : 0;
  const double arrival = in.choices.streamed ? passes * static_cast<double>(layer_base_bytes(in)) / speed.host_bytes_per_s : 0;
  const double norms_bytes = tokens * 8 * static_cast<double>(c.hidden_size) * e;
  const auto seconds = [&](double flops, double decoded) {
    return tokens * flops / speed.flops_per_s + passes * decoded * decode_bytes / speed.memory_bytes_per_s;
  };
  double sum = 0;
  for (const nn::RecomputePolicy& policy : in.choices.recompute) {
    double flops = f.backward, decoded = w.layer, extra = 0;
    if (!policy.keeps_elementwise()) extra += norms_bytes / 2 / speed.memory_bytes_per_s;
    if (!policy.keeps_attention()) {
      flops += f.rebuild_layer;
      decoded += w.layer - w.down;
    } else if (!policy.keeps_mlp()) {
      flops += f.rebuild_mlp;
      decoded += w.gate_up;
    }
    // An offloaded input leaves during forward and comes back during the backward of the layer above.
    const double offload = in.device == PlanDevice::kCuda && policy.offloads_input() ? tokens * static_cast<double>(c.hidden_size) * e / speed.host_bytes_per_s : 0;
    // The next layer arrives while this one computes; the slower of the two is seen.
    sum += std::max(arrival + offload, seconds(f.forward, w.layer) + norms_bytes / speed.memory_bytes_per_s);
    sum += std::max(arrival + offload, seconds(flops, decoded) + extra + norms_bytes / speed.memory_bytes_per_s);
  }
  return sum;
}

double head_seconds(const PlanInput& in, const HardwareSpeed& speed, double tokens) {
  const double rows = in.labelled_rows < 0 ? tokens : std::min(tokens, static_cast<double>(in.labelled_rows));
  const double weights = static_cast<double>(in.model.vocab_size * in.model.hidden_size);
  const double chunks = std::max(1.0, rows / static_cast<double>(in.choices.loss_chunk_tokens));
  const auto e = static_cast<double>(in.element_bytes);
  // Every chunk reads the head twice; a 4-bit one is decoded for it.
  const double read = chunks * 2 * weights * e / speed.memory_bytes_per_s;
  const double decode = in.head_in_4bit ? chunks * 2 * weights * (0.516 + e) / speed.memory_bytes_per_s : 0;
  return std::max(rows * 4 * weights / speed.flops_per_s, read) + decode;
}

}  // namespace

const std::vector<HardwareSpeed>& known_gpus() {
  static const std::vector<HardwareSpeed> gpus{
      {"RTX 3060", kShareOfPeak * 25.5 * kTera, 360 * kGb, kHostLink},
      {"RTX 4070", kShareOfPeak * 58.3 * kTera, 504 * kGb, kHostLink},
      {"RTX 4090", kShareOfPeak * 165.2 * kTera, 1008 * kGb, kHostLink},
      {"H200", kShareOfPeak * 790 * kTera, 4300 * kGb, 2 * kHostLink},
  };
  return gpus;
}

const HardwareSpeed& typical_gpu(int64_t memory_bytes) {
  constexpr int64_t kGib = int64_t{1} << 30;
  const auto& gpus = known_gpus();
  if (memory_bytes <= 13 * kGib) return gpus[0];
  if (memory_bytes <= 17 * kGib) return gpus[1];
  return memory_bytes <= 33 * kGib ? gpus[2] : gpus[3];
}

const HardwareSpeed& tabled_cpu() {
  static const HardwareSpeed speed{"a CPU with AVX512_BF16", kShareOfPeak * 0.4635 * kTera, kCpuMemory, kDisk};
  return speed;
}

HardwareSpeed measured_cpu(int64_t element_bytes) {
  constexpr int64_t kSize = 512;
  constexpr int kTimes = 3;
  const auto options = at::TensorOptions().dtype(element_bytes == 2 ? at::kBFloat16 : at::kFloat);
  const Tensor a = at::ones({kSize, kSize}, options), b = at::ones({kSize, kSize}, options), product = at::empty({kSize, kSize}, options);
  nn::matmul(a, b, product, {});  // makes the kernel
  double best = 1e9;
  for (int i = 0; i < kTimes; ++i) {
    const auto start = std::chrono::steady_clock::now();
    nn::matmul(a, b, product, {});
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  // Steps reach less than a lone product: attention, norms and decoding run at other rates.
  return {"this CPU", kShareOfPeak * 2 * kSize * kSize * kSize / std::max(best, 1e-6), kCpuMemory, kDisk};
}

double micro_batch_seconds(const PlanInput& in, const HardwareSpeed& speed) {
  const auto tokens = static_cast<double>(micro_batch_tokens(in));
  const double passes = std::max(1.0, tokens / static_cast<double>(std::max<int64_t>(1, in.pass_tokens)));
  double sum = layers_seconds(in, speed, tokens, passes) + head_seconds(in, speed, tokens);
  if (in.device == PlanDevice::kCpu && in.choices.parallel_passes == 1) sum *= kSharedPass;
  if (in.device == PlanDevice::kCuda && in.choices.offload_embedding) {
    sum += tokens * static_cast<double>(in.model.hidden_size * in.element_bytes) / speed.host_bytes_per_s;
  }
  const auto state = static_cast<double>(optimizer_state_bytes(in)), parameters = static_cast<double>(adapter_parameters(in));
  double update = (2 * state + parameters * static_cast<double>(4 + in.element_bytes)) / speed.memory_bytes_per_s;
  const auto budget = static_cast<double>(in.choices.paged_budget_bytes);
  if (optim::optimizer_kind(in.optimizer.optim).paged && budget > 0 && budget < state) {
    // What does not stay comes and goes once an update.
    update += 2 * (state - budget) / speed.host_bytes_per_s;
  }
  return sum + update / static_cast<double>(std::max<int64_t>(1, in.accumulation_steps));
}

double tokens_per_s(const PlanInput& in, const HardwareSpeed& speed) {
  return static_cast<double>(micro_batch_tokens(in)) / micro_batch_seconds(in, speed);
}

}  // namespace nibble::trainer
