#include "io/packed_source.h"

#include <fmt/format.h>

#include <atomic>

#include "core/error.h"
#include "core/mapped_pages.h"
#include "core/mapping_guard.h"
#include "io/bnb.h"
#include "quant/blockwise.h"
#include "tensor/parallel_tasks.h"

namespace nibble::io {
namespace {

std::string_view text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace

PackedSource::PackedSource(const WeightSource& base, const std::filesystem::path& file, const SafetensorsPlan& plan)
    : base_(base), shards_(file) {
  path_ = base.path();
  config_ = base.config();
  expect_plan(plan);
  for (const std::string& name : shards_.names()) {
    if (name == kChecksumsName || !bnb_owner(name).empty()) continue;
    names_.push_back(name);
    weights_.insert(name);
  }
}

void PackedSource::expect_plan(const SafetensorsPlan& plan) const {
  const SafetensorsFile& file = shards_.files().front();
  const auto fail = [&](const std::string& what) { throw FormatError(what, file.path().string()); };
  if (file.metadata() != plan.metadata) {
    const auto found = file.metadata().find("nibble_packed");
    if (found == file.metadata().end()) fail("it is no packed cache");
    if (found->second != plan.metadata.at("nibble_packed")) fail("it is of another version of nibble");
    fail("it is of another model or packed in another way");
  }
  if (file.entries().size() != plan.tensors.size()) {
    fail(fmt::format("it holds {} tensors, expected {}", file.entries().size(), plan.tensors.size()));
  }
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const SafetensorsEntry& entry = file.entries()[i];
    const SafetensorsPlan::Tensor& expected = plan.tensors[i];
    if (entry.name != expected.name || entry.dtype != expected.dtype || entry.shape != expected.shape) {
      fail(fmt::format("tensor {} is '{}' {}{}, expected '{}' {}{}", i, entry.name, dtype_name(entry.dtype), shape_text(entry.shape),
                       expected.name, dtype_name(expected.dtype), shape_text(expected.shape)));
    }
  }
}

void PackedSource::verify(const std::function<void()>& each) const {
  const SafetensorsFile& file = shards_.files().front();
  const auto checksums = text_of(file.bytes(file.at(kChecksumsName)));
  const int64_t count = static_cast<int64_t>(file.entries().size()) - 1;
  std::atomic<int64_t> next{0}, damaged{count};
  parallel_tasks(at::get_num_threads(), [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count && damaged == count; i = next++) {
      try {
        if (each) each();
      } catch (...) {
        next = count;  // for the other threads
        throw;
      }
      const SafetensorsEntry& entry = file.entries()[static_cast<size_t>(i)];
      const std::string_view expected = checksums.substr(static_cast<size_t>(i) * kChecksumDigits, kChecksumDigits);
      if (xxh3_128_passing(file.bytes(entry)) != expected) damaged = i;
    }
  });
  if (damaged == count) return;
  const SafetensorsEntry& entry = file.entries()[static_cast<size_t>(damaged.load())];
  throw FormatError(fmt::format("tensor '{}' does not have its checksum", entry.name), file.path().string(), entry.begin);
}

const SafetensorsShards::Location& PackedSource::location(const std::string& name) const {
  if (!has(name)) throw FormatError(fmt::format("it holds no weight '{}'", name), file().string());
  return *shards_.find(name);
}

std::vector<int64_t> PackedSource::shape(const std::string& name) const {
  const SafetensorsShards::Location& at = location(name);
  return is_packed(name) ? bnb_shape(shards_, name) : at.entry->shape;
}

Tensor PackedSource::read(const std::string& name) const {
  if (is_packed(name)) return quant::dequantize(view_packed(name), at::kBFloat16);
  const SafetensorsShards::Location& at = location(name);
  const at::ScalarType dtype = at.entry->dtype == DType::kF32 ? at::kFloat : at::kBFloat16;
  return at::from_blob(const_cast<std::byte*>(at.file->bytes(*at.entry).data()), at.entry->shape, at::TensorOptions().dtype(dtype));
}

bool PackedSource::is_packed(const std::string& name) const { return is_bnb_weight(shards_, name); }
quant::QuantizedWeight PackedSource::read_packed(const std::string& name) const { return read_bnb_weight(shards_, name, BnbRead::kCopy); }
quant::QuantizedWeight PackedSource::view_packed(const std::string& name) const { return read_bnb_weight(shards_, name, BnbRead::kView); }

bool PackedSource::holds(const void* address) const {
  const auto bytes = shards_.files().front().all_bytes();
  const auto* p = static_cast<const std::byte*>(address);
  return p >= bytes.data() && p < bytes.data() + bytes.size();
}

Place PackedSource::place(const std::string& name) const { return {file().string(), 0, 0, location(name).entry->begin}; }
void PackedSource::expect_unchanged() const { nibble::expect_unchanged(shards_.files().front().all_bytes()); }

void PackedSource::drop(const std::string& name) const {
  if (is_packed(name)) return drop_bnb_weight(shards_, name);
  const SafetensorsShards::Location& at = location(name);
  at.file->drop(*at.entry);
}

}  // namespace nibble::io
