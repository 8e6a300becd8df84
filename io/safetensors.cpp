#include "io/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <set>
#include <stdexcept>

#include "core/error.h"
#include "schema/json_text.h"

namespace nibble::io {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors and GGUF values are used as they lie in the file");

using Json = nlohmann::json;
constexpr int64_t kPrefixBytes = 8;
constexpr size_t kMaxDimensions = 16;
constexpr std::string_view kAgain = "the file is cut short or damaged, download or copy it again";

// A size in JSON: a whole number from 0 to 2^63-1; -1: anything else.
int64_t size_of(const Json& value) {
  if (!value.is_number_unsigned()) return -1;  // negative numbers and fractions have other types
  const auto n = value.get<uint64_t>();
  return n > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ? -1 : static_cast<int64_t>(n);
}

const Json& member(const Json& object, const char* key, const std::string& tensor, const std::string& path) {
  const auto found = object.find(key);
  if (found == object.end()) {
    throw FormatError(fmt::format("tensor '{}' has no '{}' in the header; {}", tensor, key, kAgain), path, kPrefixBytes);
  }
  return *found;
}

}  // namespace

int64_t checked_numel(std::span<const int64_t> shape) {
  int64_t numel = 1;
  for (const int64_t n : shape) {
    if (n < 0 || __builtin_mul_overflow(numel, n, &numel)) return -1;
  }
  return numel;
}

int64_t checked_bytes(std::span<const int64_t> shape, DType dtype) {
  int64_t bytes = checked_numel(shape);
  if (bytes < 0 || __builtin_mul_overflow(bytes, dtype_bytes(dtype), &bytes)) return -1;
  return bytes;
}

std::string shape_text(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", ")); }

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  read_header();
  check_layout();
}

std::string_view SafetensorsFile::header() const {
  return {reinterpret_cast<const char*>(file_.bytes().data()) + kPrefixBytes, static_cast<size_t>(header_bytes_)};
}

void SafetensorsFile::read_header() {
  const std::string path = file_.path().string();
  if (file_.size() < kPrefixBytes) {
    throw FormatError(fmt::format("a safetensors file has at least {} bytes, this one has {}; {}", kPrefixBytes, file_.size(),
                                  kAgain), path, 0);
  }
  uint64_t length = 0;
  std::memcpy(&length, file_.bytes().data(), sizeof length);
  if (length > static_cast<uint64_t>(kSafetensorsMaxHeaderBytes)) {
    throw FormatError(fmt::format("its first 8 bytes give a header of {} bytes, more than the limit of {}: not a safetensors "
                                  "file, or damaged; download or copy it again", length, kSafetensorsMaxHeaderBytes), path, 0);
  }
  if (static_cast<int64_t>(length) > file_.size() - kPrefixBytes) {
    throw FormatError(fmt::format("its header of {} bytes reaches beyond the file's {} bytes; {}", length, file_.size(), kAgain),
                      path, 0);
  }
  header_bytes_ = static_cast<int64_t>(length);
  const std::string_view text = header();
  if (text.empty() || text.front() != '{') {
    throw FormatError("its header does not begin with '{': not a safetensors file, or damaged", path, kPrefixBytes);
  }
  const Json json = schema::parse_json(text, file_.path(), kPrefixBytes);
  entries_.reserve(json.size());
  for (const auto& [name, value] : json.items()) {
    if (!value.is_object()) {
      throw FormatError(fmt::format("'{}' in the header is not an object; {}", name, kAgain), path, kPrefixBytes);
    }
    if (name == "__metadata__") {
      for (const auto& [key, text_value] : value.items()) {
        if (!text_value.is_string()) {
          throw FormatError(fmt::format("metadata '{}' in the header is not a string", key), path, kPrefixBytes);
        }
        metadata_.emplace(key, text_value.get<std::string>());
      }
      continue;
    }
    SafetensorsEntry entry;
    entry.name = name;
    const Json& dtype = member(value, "dtype", name, path);
    const auto known = dtype.is_string() ? dtype_from_name(dtype.get<std::string>()) : std::nullopt;
    if (!known) {
      throw FormatError(fmt::format("tensor '{}' has the unknown dtype {}; convert the file to bf16, fp16 or fp32", name,
                                    schema::brief(dtype)), path, kPrefixBytes);
    }
    entry.dtype = *known;
    const Json& shape = member(value, "shape", name, path);
    if (!shape.is_array() || shape.size() > kMaxDimensions) {
      throw FormatError(fmt::format("tensor '{}' has a shape that is not a list of at most {} sizes; {}", name, kMaxDimensions,
                                    kAgain), path, kPrefixBytes);
    }
    for (const Json& n : shape) {
      const int64_t size = size_of(n);
      if (size < 0) {
        throw FormatError(fmt::format("tensor '{}' has the size {} in its shape; {}", name, schema::brief(n), kAgain), path, kPrefixBytes);
      }
      entry.shape.push_back(size);
    }
    const Json& offsets = member(value, "data_offsets", name, path);
    const bool is_pair = offsets.is_array() && offsets.size() == 2;
    const int64_t begin = is_pair ? size_of(offsets[0]) : -1;
    const int64_t end = is_pair ? size_of(offsets[1]) : -1;
    if (begin < 0 || begin > end) {
      throw FormatError(fmt::format("tensor '{}' has data_offsets {}, expected [begin, end]; {}", name, schema::brief(offsets), kAgain),
                        path, kPrefixBytes);
    }
    entry.begin = begin;
    entry.bytes = end - begin;
    if (entry.bytes != checked_bytes(entry.shape, entry.dtype)) {
      throw FormatError(fmt::format("tensor '{}' of shape {} and dtype {} has {} bytes of data; {}", name, shape_text(entry.shape),
                                    dtype_name(entry.dtype), entry.bytes, kAgain), path, kPrefixBytes);
    }
    entries_.push_back(std::move(entry));
  }
}

void SafetensorsFile::check_layout() {
  const std::string path = file_.path().string();
  const int64_t data_begin = kPrefixBytes + header_bytes_;
  const int64_t data_bytes = file_.size() - data_begin;
  std::stable_sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.bytes < b.bytes;
  });
  int64_t next = 0;
  for (SafetensorsEntry& entry : entries_) {
    if (entry.begin > data_bytes || entry.bytes > data_bytes - entry.begin) {
      throw FormatError(fmt::format("tensor '{}' has {} bytes from data byte {} on, beyond the file's {} bytes; {}", entry.name,
                                    entry.bytes, entry.begin, file_.size(), kAgain), path, file_.size());
    }
    if (entry.begin != next) {
      throw FormatError(fmt::format("tensor '{}' begins at data byte {}, but the one before it ends at {}; {}", entry.name,
                                    entry.begin, next, kAgain), path, data_begin + entry.begin);
    }
    next += entry.bytes;
    entry.begin += data_begin;
  }
  if (next != data_bytes) {
    throw FormatError(fmt::format("{} bytes follow the last tensor; {}", data_bytes - next, kAgain), path, data_begin + next);
  }
  for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].name, i);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  return found == index_.end() ? nullptr : &entries_[found->second];
}

const SafetensorsEntry& SafetensorsFile::at(std::string_view name) const {
  const SafetensorsEntry* entry = find(name);
  if (entry == nullptr) throw FormatError(fmt::format("it holds no tensor '{}'", name), path().string());
  return *entry;
}

std::span<const std::byte> SafetensorsFile::bytes(const SafetensorsEntry& entry) const {
  return file_.bytes().subspan(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.bytes));
}

void SafetensorsPlan::sort() {
  std::sort(tensors.begin(), tensors.end(), [](const Tensor& a, const Tensor& b) {
    const int64_t wide_a = dtype_bytes(a.dtype), wide_b = dtype_bytes(b.dtype);
    return wide_a != wide_b ? wide_a > wide_b : a.name < b.name;
  });
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, SafetensorsPlan plan)
    : file_(path), plan_(std::move(plan)) {
  std::string header = "{";
  if (!plan_.metadata.empty()) header += fmt::format("\"__metadata__\":{}", Json(plan_.metadata).dump());
  std::set<std::string_view> names;
  int64_t offset = 0;
  for (const auto& tensor : plan_.tensors) {
    const int64_t bytes = checked_bytes(tensor.shape, tensor.dtype);
    if (bytes < 0 || !names.insert(tensor.name).second) {
      throw std::logic_error(fmt::format("tensor '{}' is planned twice or has the shape {}", tensor.name, shape_text(tensor.shape)));
    }
    header += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}", header.size() > 1 ? "," : "",
                          Json(tensor.name).dump(), dtype_name(tensor.dtype), Json(tensor.shape).dump(), offset, offset + bytes);
    offset += bytes;
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  const uint64_t length = header.size();
  file_.write(std::as_bytes(std::span(&length, 1)));
  file_.write(header);
  skip_finished();
}

void SafetensorsWriter::skip_finished() {
  while (next_ < plan_.tensors.size() && written_ == checked_bytes(plan_.tensors[next_].shape, plan_.tensors[next_].dtype)) {
    ++next_;
    written_ = 0;
  }
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (next_ == plan_.tensors.size() || plan_.tensors[next_].name != name) {
    throw std::logic_error(fmt::format("tensor '{}' is written out of order", name));
  }
  const auto& tensor = plan_.tensors[next_];
  written_ += static_cast<int64_t>(bytes.size());
  if (written_ > checked_bytes(tensor.shape, tensor.dtype)) {
    throw std::logic_error(fmt::format("tensor '{}' got more bytes than its shape has", name));
  }
  file_.write(bytes);
  skip_finished();
}

void SafetensorsWriter::close() {
  if (next_ != plan_.tensors.size()) {
    throw std::logic_error(fmt::format("tensor '{}' was not written in full", plan_.tensors[next_].name));
  }
  file_.close();
}

}  // namespace nibble::io
