#include "nn/batch_upload.h"

#include <algorithm>
#include <cstring>

#include "gpu/runtime_table.h"

namespace nibble::nn {
namespace {

constexpr int64_t kStepElements = 4;  // the micro-step is first, in two of them
constexpr int kFlashCapability = 8;  // the oldest that FlashAttention-2 runs on

int64_t longest_document(std::span<const int32_t> starts) {
  int64_t longest = 0;
  for (size_t d = 0; d + 1 < starts.size(); ++d) longest = std::max<int64_t>(longest, starts[d + 1] - starts[d]);
  return longest;
}

Tensor view(std::span<const int32_t> values) {
  return at::from_blob(const_cast<int32_t*>(values.data()), {static_cast<int64_t>(values.size())}, at::kInt);
}

}  // namespace

BatchUpload::BatchUpload(const Place& place) : place_(place) {
  if (!place_.queue) return;
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  flash_ = runtime.device_info(place_.device.has_index() ? place_.device.index() : 0).major >= kFlashCapability;
}

BatchUpload::~BatchUpload() {
  if (!place_.queue) return;
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  for (Staging& staging : staging_) {
    runtime.release_pinned(staging.data);
    if (staging.copied != nullptr) runtime.destroy_event(staging.copied);
  }
  runtime.release(device_);
}

void BatchUpload::grow(Staging& staging, int64_t elements) {
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  if (staging.copied == nullptr) staging.copied = runtime.create_event();
  if (staging.capacity < elements) {
    runtime.release_pinned(staging.data);
    staging.data = nullptr;
    staging.data = static_cast<int32_t*>(runtime.allocate_pinned(elements * static_cast<int64_t>(sizeof(int32_t))));
    staging.capacity = elements;
  }
  if (device_capacity_ < elements) {
    // Work that reads the old buffer may still be queued.
    runtime.synchronize(place_.queue.stream);
    runtime.release(device_);
    device_ = nullptr;
    device_ = static_cast<int32_t*>(runtime.allocate(elements * static_cast<int64_t>(sizeof(int32_t))));
    device_capacity_ = elements;
  }
}

DeviceBatch BatchUpload::upload(const TokenBatch& batch, const LabelledRows& labelled, uint64_t micro_step) {
  DeviceBatch out;
  out.documents.longest = longest_document(batch.document_starts);
  out.documents.flash = flash_;
  out.host_ids = batch.ids;
  if (!place_.queue) {
    out.ids = view(batch.ids);
    out.positions = view(batch.positions);
    out.documents.starts = view(batch.document_starts);
    out.rows = view(labelled.rows);
    out.targets = view(labelled.targets);
    return out;
  }
  const std::span<const int32_t> parts[] = {batch.ids, batch.positions, batch.document_starts, labelled.rows, labelled.targets};
  Tensor* views[] = {&out.ids, &out.positions, &out.documents.starts, &out.rows, &out.targets};
  // Each part begins at a multiple of 16 bytes.
  const auto padded = [](size_t n) { return (static_cast<int64_t>(n) + 3) / 4 * 4; };
  int64_t elements = kStepElements;
  for (const auto& part : parts) elements += padded(part.size());
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  Staging& staging = staging_[next_];
  next_ ^= 1;
  // Two batches ago, so it has passed but for the shortest steps.
  if (staging.used) runtime.wait_on_host(staging.copied);
  // As much as any batch of so many tokens needs: buffers do not move again for documents and labels.
  grow(staging, std::max(elements, kStepElements + static_cast<int64_t>(std::size(parts)) * padded(batch.ids.size() + 1)));
  std::memcpy(staging.data, &micro_step, sizeof micro_step);
  out.micro_step = reinterpret_cast<const uint64_t*>(device_);
  int64_t at = kStepElements;
  for (size_t i = 0; i < std::size(parts); ++i) {
    std::copy(parts[i].begin(), parts[i].end(), staging.data + at);
    *views[i] = at::for_blob(device_ + at, {static_cast<int64_t>(parts[i].size())})
                    .options(place_.options(at::kInt)).target_device(place_.device).make_tensor();
    at += padded(parts[i].size());
  }
  runtime.copy(device_, staging.data, elements * static_cast<int64_t>(sizeof(int32_t)), place_.queue.stream);
  runtime.record(staging.copied, place_.queue.stream);
  staging.used = true;
  return out;
}

}  // namespace nibble::nn
