#include "nn/host_embedding.h"

#include "gpu/runtime_table.h"
#include "tensor/shape.h"

namespace nibble::nn {

HostEmbedding::~HostEmbedding() {
  if (!place_.queue) return;
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  for (Staging& staging : staging_) {
    runtime.release_pinned(staging.data);
    if (staging.copied != nullptr) runtime.destroy_event(staging.copied);
  }
}

void HostEmbedding::grow(Staging& staging, int64_t bytes) {
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  if (staging.copied == nullptr) staging.copied = runtime.create_event();
  if (staging.bytes >= bytes) return;
  runtime.release_pinned(staging.data);
  staging.data = nullptr;
  staging.bytes = 0;
  staging.data = runtime.allocate_pinned(bytes);
  staging.bytes = bytes;
}

void HostEmbedding::gather(const Tensor& table, std::span<const int32_t> ids, const Tensor& rows) {
  const auto tokens = static_cast<int64_t>(ids.size());
  tensor::expect_shape(rows, {tokens, table.size(1)}, "embedded rows");
  if (tokens == 0) return;
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  Staging& staging = staging_[next_];
  next_ ^= 1;
  if (staging.used) runtime.wait_on_host(staging.copied);
  staging.used = false;
  const auto bytes = static_cast<int64_t>(rows.nbytes());
  grow(staging, bytes);
  Tensor gathered = at::from_blob(staging.data, rows.sizes(), table.options());
  at::index_select_out(gathered, table, 0, at::from_blob(const_cast<int32_t*>(ids.data()), {tokens}, at::kInt));
  runtime.copy(rows.data_ptr(), staging.data, bytes, place_.queue.stream);
  runtime.record(staging.copied, place_.queue.stream);
  staging.used = true;
}

}  // namespace nibble::nn
