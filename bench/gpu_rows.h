// The kernel table of bench_gpu: a row for each launch line of the CUDA module, at the sizes of an 8B model, with the bytes
// that it must read and write. Everything goes through gpu::Queue, so that a test runs each row on the emulator, small.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "core/bf16.h"
#include "gpu/module.h"
#include "gpu/runtime_table.h"
#include "nn/cuda_table.h"
#include "optim/device_buffer.h"
#include "quant/cuda_table.h"

namespace nibble::bench {

struct KernelRow {
  std::string name;           // the launch line
  std::string shape;
  int64_t bytes;              // read plus written, each byte once
  std::function<void()> run;  // queues it: one launch
};

// Matrices are larger than a card's cache, so that memory is measured.
struct KernelSizes {
  int64_t tokens = 16384, width = 4096, heads = 32;
  int64_t mlp_tokens = 8192, mlp_width = 14336;
  int64_t loss_rows = 1024, vocab = 128256;
  int64_t weight_rows = 14336, weight_columns = 4096;
};

// Device memory with contents, kept as long as the object lives.
class DeviceData {
 public:
  explicit DeviceData(const gpu::Queue& queue) : queue_(queue) {}

  const gpu::Queue& queue() const { return queue_; }

  template <class T>
  T* upload(const std::vector<T>& values) {
    T* device = allocate<T>(static_cast<int64_t>(values.size()));
    copy(device, values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
    runtime().synchronize(queue_.stream);
    return device;
  }

  // bf16 in [-1, 1): a card moves zeros with less power than data, and so faster.
  uint16_t* random_bf16(int64_t n) {
    auto* device = allocate<uint16_t>(n);
    const auto block = static_cast<int64_t>(noise_.size());
    for (int64_t at = 0; at < n; at += block) copy(device + at, noise_.data(), 2 * std::min(block, n - at));
    runtime().synchronize(queue_.stream);
    return device;
  }

  template <class T>
  T* allocate(int64_t n) {
    kept_.emplace_back(queue_, n * static_cast<int64_t>(sizeof(T)));
    return kept_.back().template as<T>();
  }

  template <class T>
  T* zeros(int64_t n) {
    T* device = allocate<T>(n);
    runtime().fill_zero(device, n * static_cast<int64_t>(sizeof(T)), queue_.stream);
    return device;
  }

  void copy(void* to, const void* from, int64_t bytes) { runtime().copy(to, from, bytes, queue_.stream); }

 private:
  const gpu::RuntimeTable& runtime() const { return *queue_.module->runtime; }

  static std::vector<uint16_t> noise() {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    std::vector<uint16_t> values(1 << 20);
    for (uint16_t& value : values) value = float_to_bf16(uniform(random));
    return values;
  }

  gpu::Queue queue_;
  std::vector<optim::DeviceBuffer> kept_;
  std::vector<uint16_t> noise_ = noise();
};

inline std::string shape_of(int64_t rows, int64_t columns, const char* dtype = "bf16") {
  return fmt::format("[{}, {}] {}", rows, columns, dtype);
}

// Numbers below `end`, the same ones in every run.
inline std::vector<int32_t> random_rows(int64_t count, int64_t end) {
  std::mt19937 random(2);
  std::vector<int32_t> rows(static_cast<size_t>(count));
  for (int32_t& row : rows) row = static_cast<int32_t>(random() % static_cast<uint64_t>(end));
  return rows;
}

// With double quantization: 4.127 bits a weight are stored, and decoding to bf16 moves 2.516 bytes of it.
inline void add_quant_rows(DeviceData& data, const KernelSizes& s, std::vector<KernelRow>& table) {
  const gpu::Queue queue = data.queue();
  const quant::CudaTable& lines = *queue.module->quant;
  const int64_t n = s.weight_rows * s.weight_columns, blocks = n / 64, groups = (blocks + 255) / 256;
  const int64_t stored_bytes = n / 2 + blocks + 4 * groups;
  uint16_t* weight = data.random_bf16(n);
  auto* codes = data.zeros<uint8_t>(n / 2);
  auto* absmax_codes = data.zeros<uint8_t>(blocks);
  auto* nested_absmax = data.zeros<float>(groups);
  quant::QuantizeLaunch encode;
  encode.span = {QuantType::kNf4, quant::Element::kBf16, 64, n, weight, codes, data.zeros<float>(blocks)};
  encode.absmax_codes = absmax_codes;
  encode.nested_absmax = nested_absmax;
  encode.workspace = data.zeros<std::byte>(quant::quantize_workspace_bytes(n));
  const std::string shape = shape_of(s.weight_rows, s.weight_columns);
  // The plain scales are written and read once more between.
  table.push_back({"quant.quantize, NF4 + double quantization", shape, 2 * n + stored_bytes + 8 * blocks,
                   [=, &lines] { lines.quantize(encode, queue.stream); }});
  quant::DequantizeLaunch decode;
  decode.span = {QuantType::kNf4, 64, n, codes, nullptr, absmax_codes, nested_absmax, 0.0f};
  decode.out = weight;
  table.push_back({"quant.dequantize, NF4 + double quantization", shape, stored_bytes + 2 * n,
                   [=, &lines] { lines.dequantize(decode, queue.stream); }});
}

inline void add_norm_rows(DeviceData& data, const KernelSizes& s, std::vector<KernelRow>& table) {
  const gpu::Queue queue = data.queue();
  const nn::CudaTable& lines = *queue.module->nn;
  const int64_t n = s.tokens * s.width;
  uint16_t *x = data.random_bf16(n), *y = data.random_bf16(n), *delta = data.random_bf16(n);
  const uint16_t* weight = data.random_bf16(s.width);
  auto* rstd = data.zeros<float>(s.tokens);
  const std::string shape = shape_of(s.tokens, s.width);
  nn::RmsNormLaunch norm;
  norm.count = s.tokens;
  norm.rows = {x, nullptr, weight, y, rstd, s.width, s.width, s.width, s.width, 1e-5};
  table.push_back({"nn.rms_norm", shape, 4 * n, [=, &lines] { lines.rms_norm(norm, queue.stream); }});
  nn::RmsNormLaunch residual = norm;
  residual.rows.delta = delta;
  table.push_back({"nn.rms_norm + residual", shape, 8 * n, [=, &lines] { lines.rms_norm(residual, queue.stream); }});
  nn::RmsNormGradLaunch grad;
  grad.count = s.tokens;
  grad.rows = {delta, x, weight, rstd, y, s.width, s.width, s.width, s.width, true};
  table.push_back({"nn.rms_norm_backward, accumulated", shape, 8 * n,
                   [=, &lines] { lines.rms_norm_backward(grad, queue.stream); }});
}

inline void add_rope_rows(DeviceData& data, const KernelSizes& s, std::vector<KernelRow>& table) {
  const gpu::Queue queue = data.queue();
  const nn::CudaTable& lines = *queue.module->nn;
  const int64_t n = s.tokens * s.width, half = s.width / s.heads / 2;
  std::vector<int32_t> positions(static_cast<size_t>(s.tokens));
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
  nn::RopeLaunch rope;
  rope.tokens = s.tokens;
  rope.rows = {data.random_bf16(n), data.upload(positions), data.zeros<float>(s.tokens * half), data.zeros<float>(s.tokens * half),
               s.width, 2 * half, s.heads, half, false};
  table.push_back({"nn.rope", shape_of(s.tokens, s.width), 4 * n, [=, &lines] { lines.rope(rope, queue.stream); }});
}

inline void add_swiglu_rows(DeviceData& data, const KernelSizes& s, std::vector<KernelRow>& table) {
  const gpu::Queue queue = data.queue();
  const nn::CudaTable& lines = *queue.module->nn;
  const int64_t n = s.mlp_tokens * s.mlp_width, w = s.mlp_width;
  uint16_t *gate = data.random_bf16(n), *up = data.random_bf16(n), *out = data.random_bf16(n);
  const std::string shape = shape_of(s.mlp_tokens, w);
  const nn::SwigluLaunch forward{gate, up, out, s.mlp_tokens, w, w, w, w, true};
  table.push_back({"nn.swiglu", shape, 6 * n, [=, &lines] { lines.swiglu(forward, queue.stream); }});
  const nn::SwigluGradLaunch backward{out, gate, up, gate, up, nullptr, s.mlp_tokens, w, w, w, w, w, w, 0, true};
  table.push_back({"nn.swiglu_backward, in place", shape, 10 * n, [=, &lines] { lines.swiglu_backward(backward, queue.stream); }});
}

inline void add_loss_rows(DeviceData& data, const KernelSizes& s, std::vector<KernelRow>& table) {
  const gpu::Queue queue = data.queue();
  const nn::CudaTable& lines = *queue.module->nn;
  const int64_t n = s.loss_rows * s.vocab;
  uint16_t* logits = data.random_bf16(n);
  const int32_t* targets = data.upload(random_rows(s.loss_rows, s.vocab));
  auto* nll = data.zeros<double>(s.loss_rows);
  auto* sum = data.zeros<double>(1);
  const std::string shape = shape_of(s.loss_rows, s.vocab);
  nn::CrossEntropyLaunch loss{logits, targets, nll, s.loss_rows, s.vocab, false, true};
  table.push_back({"nn.cross_entropy", shape, 2 * n, [=, &lines] { lines.cross_entropy(loss, queue.stream); }});
  loss.gradient = true;
  table.push_back({"nn.cross_entropy + gradient", shape, 4 * n, [=, &lines] { lines.cross_entropy(loss, queue.stream); }});
  const nn::NllSumLaunch total{nll, s.loss_rows, sum, true};
  table.push_back({"nn.nll_sum", shape_of(s.loss_rows, 1, "fp64"), 8 * s.loss_rows, [=, &lines] { lines.nll_sum(total, queue.stream); }});
}

inline void add_element_rows(DeviceData& data, const KernelSizes& s, std::vector<KernelRow>& table) {
  const gpu::Queue queue = data.queue();
  const nn::CudaTable& lines = *queue.module->nn;
  const int64_t n = s.tokens * s.width;
  uint16_t *x = data.random_bf16(n), *y = data.random_bf16(n);
  auto* sums = data.zeros<float>(n);
  const int32_t* ids = data.upload(random_rows(s.tokens, s.tokens));
  const std::string shape = shape_of(s.tokens, s.width);
  const nn::CopyRowsLaunch gather{x, y, ids, nullptr, s.tokens, 2 * s.width, 2 * s.width, 2 * s.width};
  table.push_back({"nn.copy_rows, gathered", shape, 4 * n, [=, &lines] { lines.copy_rows(gather, queue.stream); }});
  nn::DropoutLaunch dropout;
  dropout.x = x, dropout.y = y, dropout.numel = n, dropout.p = 0.1f;
  table.push_back({"nn.dropout", shape, 4 * n, [=, &lines] { lines.dropout(dropout, queue.stream); }});
  const nn::AddScaledLaunch add{sums, x, 0.5f, n, /*y_is_bf16=*/false, /*x_is_bf16=*/true};
  table.push_back({"nn.add_scaled, bf16 to fp32", shape, 10 * n, [=, &lines] { lines.add_scaled(add, queue.stream); }});
}

}  // namespace nibble::bench
