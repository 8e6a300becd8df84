#include "nn/attention_avx512.h"

#include <algorithm>
#include <vector>

#include "core/amx.h"
#include "core/round_up.h"
#include "nn/attention_amx_cpu.h"
#include "nn/attention_math.h"
#include "nn/avx512.h"
#include "nn/each_task.h"
#include "nn/kept_memory.h"
#include "nn/rows.h"
#include "nn/vectorize.h"

namespace nibble::nn {
namespace {

struct Document {
  int64_t first, tokens;
};

// Longest first, so that no thread starts a long one last. Order has no influence on results.
std::vector<Document> documents_of(std::span<const int32_t> starts) {
  std::vector<Document> documents;
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    if (starts[i + 1] > starts[i]) documents.push_back({starts[i], starts[i + 1] - starts[i]});
  }
  std::stable_sort(documents.begin(), documents.end(), [](const Document& a, const Document& b) { return a.tokens > b.tokens; });
  return documents;
}

HeadRows head_rows(const Tensor& t, const Document& document, int64_t head) {
  return {elements<uint16_t>(t) + document.first * t.stride(0) + head * t.stride(1), t.stride(0)};
}

TileSettings settings_of(const Document& document, const AttentionShape& shape) {
  return {document.tokens, shape.D, shape.window, shape.scale};
}

// What the kernels work in, and what a call's tasks leave for each other: of the thread that calls, forward and backward in turn.
std::byte* kernel_memory(int64_t bytes) {
  static thread_local Tensor memory;
  return kept_bytes(memory, bytes);
}
std::byte* shared_memory(int64_t bytes) {
  static thread_local Tensor memory;
  return kept_bytes(memory, bytes);
}

// One 64-byte aligned piece of such memory for each thread.
class WorkerScratch {
 public:
  WorkerScratch(std::byte* (*memory)(int64_t bytes), int64_t bytes)
      : stride_(round_up(bytes, 64)), begin_(memory(stride_ * at::get_num_threads())) {}
  void* of(int64_t worker) const { return begin_ + worker * stride_; }

 private:
  int64_t stride_;
  std::byte* begin_;
};

// The sum of a group's fp32 gradients, in the order of its heads, as bf16. SHAPES parts [group] of [n, D] each
// part_stride elements apart.
NIBBLE_CLONES void store_group_sum(const float* parts, int64_t group, int64_t part_stride, int64_t tokens, int64_t width,
                                   uint16_t* out, int64_t out_stride) {
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < width; ++i) {
      float sum = parts[t * width + i];
      for (int64_t g = 1; g < group; ++g) sum += parts[g * part_stride + t * width + i];
      store_element(out, t * out_stride + i, sum);
    }
  }
}

const AttentionKernels& kernels_of(TileSet tiles) { return tiles == TileSet::kAmx ? kAmxAttention : kAvx512Attention; }

// A scale decides about no set of tiles.
const AttentionKernels& best_kernels(int64_t width) { return kernels_of(best_tile_set({1, 1, width, 1.0f, 0})); }

}  // namespace

bool attention_avx512_fits(const AttentionShape& shape) {
  return shape.D % 16 == 0 && shape.D <= 256 && shape.scale > 0 && avx512_bf16_supported();
}

bool attention_amx_fits(const AttentionShape& shape) {
  return shape.D % 32 == 0 && attention_avx512_fits(shape) && amx_bf16_usable();
}

TileSet best_tile_set(const AttentionShape& shape) { return attention_amx_fits(shape) ? TileSet::kAmx : TileSet::kAvx512; }

int64_t forward_scratch_bytes(int64_t width) { return best_kernels(width).forward_scratch_bytes(width); }

int64_t backward_scratch_bytes(int64_t longest, int64_t width) {
  return best_kernels(width).backward_scratch_bytes(longest, width);
}

void attention_forward_avx512(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const int32_t> document_starts,
                              const AttentionShape& shape, const Tensor& out, const Tensor& lse, TileSet tiles) {
  const AttentionKernels& kernels = kernels_of(tiles);
  const std::vector<Document> documents = documents_of(document_starts);
  const int64_t group = shape.Hq / shape.Hkv, tokens = q.size(0);
  // Where each document's packed heads begin, and its share of the tasks.
  struct Task {
    size_t document;
    int64_t head, first;
  };
  std::vector<int64_t> packed_begin;
  std::vector<Task> tasks;
  int64_t dwords = 0;
  for (size_t d = 0; d < documents.size(); ++d) {
    packed_begin.push_back(dwords);
    dwords += packed_dwords(documents[d].tokens, shape.D) * shape.Hkv;
    for (int64_t kv = 0; kv < shape.Hkv; ++kv) {
      // The last queries see the most keys.
      const int64_t rows = kernels.forward_rows;
      for (int64_t first = (documents[d].tokens - 1) / rows * rows; first >= 0; first -= rows) {
        for (int64_t g = 0; g < group; ++g) tasks.push_back({d, kv * group + g, first});
      }
    }
  }
  const int64_t half = round_up(dwords, 16);
  auto* const packed_k = reinterpret_cast<uint32_t*>(shared_memory(2 * 4 * half));
  uint32_t* const packed_v = packed_k + half;
  const auto packed = [&](uint32_t* heads, size_t d, int64_t kv) {
    return heads + packed_begin[d] + kv * packed_dwords(documents[d].tokens, shape.D);
  };
  each_task(static_cast<int64_t>(documents.size()) * shape.Hkv, [&](int64_t task, int64_t) {
    const auto d = static_cast<size_t>(task / shape.Hkv);
    const int64_t kv = task % shape.Hkv;
    pack_keys_cpu(head_rows(k, documents[d], kv), settings_of(documents[d], shape), packed(packed_k, d, kv));
    pack_values_cpu(head_rows(v, documents[d], kv), settings_of(documents[d], shape), packed(packed_v, d, kv));
  });
  const WorkerScratch scratch(kernel_memory, kernels.forward_scratch_bytes(shape.D));
  each_task(static_cast<int64_t>(tasks.size()), [&](int64_t i, int64_t worker) {
    const Task& task = tasks[static_cast<size_t>(i)];
    const Document& document = documents[task.document];
    const int64_t kv = task.head / group;
    kernels.forward(head_rows(q, document, task.head), packed(packed_k, task.document, kv), packed(packed_v, task.document, kv),
                    settings_of(document, shape), task.first, head_rows(out, document, task.head),
                    elements<float>(lse) + task.head * tokens + document.first, scratch.of(worker));
  });
}

void attention_backward_avx512(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                               const Tensor& lse, std::span<const int32_t> document_starts, const AttentionShape& shape,
                               const Tensor& dq, const Tensor& dk, const Tensor& dv, TileSet tiles) {
  const AttentionKernels& kernels = kernels_of(tiles);
  const std::vector<Document> documents = documents_of(document_starts);
  if (documents.empty()) return;
  const int64_t group = shape.Hq / shape.Hkv, tokens = q.size(0), longest = documents.front().tokens;
  const auto backward = [&](const Document& document, int64_t h, float* dk_sum, float* dv_sum, bool accumulate, void* scratch) {
    const int64_t kv = h / group;
    kernels.backward({head_rows(dout, document, h), head_rows(q, document, h), head_rows(k, document, kv),
                      head_rows(v, document, kv), head_rows(out, document, h), elements<float>(lse) + h * tokens + document.first,
                      head_rows(dq, document, h), dk_sum, dv_sum, accumulate},
                     settings_of(document, shape), scratch);
  };
  // The sums of parts of a key head for the tokens [first, last) of a document.
  const auto store = [&](const float* parts, int64_t count, int64_t part_stride, const Document& document, int64_t kv, int64_t first,
                         int64_t last, const Tensor& d) {
    const HeadRows rows = head_rows(d, document, kv);
    store_group_sum(parts + first * shape.D, count, part_stride, last - first, shape.D, rows.data + first * rows.stride, rows.stride);
  };
  const int64_t groups = static_cast<int64_t>(documents.size()) * shape.Hkv;
  const WorkerScratch scratch(kernel_memory, kernels.backward_scratch_bytes(longest, shape.D));
  if (group == 1 || groups >= 4 * at::get_num_threads()) {
    // A task is all query heads of a key head, summed as they come.
    const WorkerScratch sums(shared_memory, longest * shape.D * 8);
    each_task(groups, [&](int64_t task, int64_t worker) {
      const Document& document = documents[static_cast<size_t>(task / shape.Hkv)];
      const int64_t kv = task % shape.Hkv;
      auto* dk_sum = static_cast<float*>(sums.of(worker));
      float* dv_sum = dk_sum + longest * shape.D;
      for (int64_t g = 0; g < group; ++g) backward(document, kv * group + g, dk_sum, dv_sum, g > 0, scratch.of(worker));
      store(dk_sum, 1, 0, document, kv, 0, document.tokens, dk);
      store(dv_sum, 1, 0, document, kv, 0, document.tokens, dv);
    });
    return;
  }
  // Too few for the threads: a task is one query head, and the same sums are made afterwards, in the same order.
  const int64_t floats = shape.Hq * tokens * shape.D;  // a multiple of 16, as D is
  auto* const dk_parts = reinterpret_cast<float*>(shared_memory(2 * 4 * floats));
  float* const dv_parts = dk_parts + floats;
  const auto part = [&](float* parts, const Document& document, int64_t h) { return parts + (h * tokens + document.first) * shape.D; };
  each_task(groups * group, [&](int64_t task, int64_t worker) {
    const Document& document = documents[static_cast<size_t>(task / shape.Hq)];
    const int64_t h = task % shape.Hq;
    backward(document, h, part(dk_parts, document, h), part(dv_parts, document, h), false, scratch.of(worker));
  });
  constexpr int64_t kTokens = 256;  // of a task
  const int64_t most = ceil_div(longest, kTokens);
  each_task(groups * most, [&](int64_t task, int64_t) {
    const Document& document = documents[static_cast<size_t>(task / most / shape.Hkv)];
    const int64_t first = task % most * kTokens, last = std::min(document.tokens, first + kTokens);
    if (first >= last) return;
    const int64_t kv = task / most % shape.Hkv, stride = tokens * shape.D;
    store(part(dk_parts, document, kv * group), group, stride, document, kv, first, last, dk);
    store(part(dv_parts, document, kv * group), group, stride, document, kv, first, last, dv);
  });
}

}  // namespace nibble::nn
