#include "io/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "core/error.h"
#include "core/round_up.h"

namespace nibble::io {
namespace {

constexpr std::string_view kAgain = "the file is cut short or damaged, download or copy it again";
constexpr int64_t kMaxStringBytes = int64_t{1} << 30;
constexpr uint32_t kMaxDimensions = 4;
constexpr int64_t kMinPairBytes = 13;    // empty key, type, one byte
constexpr int64_t kMinTensorBytes = 24;  // empty name, no dimensions, type, offset

// Metadata types by their numbers in the file.
enum MetaType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

// Bytes of a value of fixed size; 0: string or array; -1: no such type.
int64_t fixed_bytes(uint32_t type) {
  switch (type) {
    case kU8: case kI8: case kBool: return 1;
    case kU16: case kI16: return 2;
    case kU32: case kI32: case kF32: return 4;
    case kU64: case kI64: case kF64: return 8;
    case kString: case kArray: return 0;
    default: return -1;
  }
}

template <typename T>
T load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

}  // namespace

// Reads forward through the file; every step is checked against its end.
class GgufFile::Cursor {
 public:
  explicit Cursor(const MappedFile& file) : file_(file) {}

  int64_t at() const { return at_; }
  int64_t left() const { return file_.size() - at_; }

  template <typename T>
  T read(const char* what) {
    return load<T>(take(sizeof(T), what));
  }
  const std::byte* take(int64_t bytes, const char* what) {
    if (bytes < 0 || bytes > left()) {
      throw FormatError(fmt::format("the file ends within {} ({} bytes needed, {} left); {}", what, bytes, left(), kAgain),
                        file_.path().string(), at_);
    }
    const std::byte* data = file_.bytes().data() + at_;
    at_ += bytes;
    return data;
  }
  std::string_view string(const char* what) {
    const int64_t begin = at_;
    const auto length = read<uint64_t>(what);
    if (length > static_cast<uint64_t>(std::min(left(), kMaxStringBytes))) {
      throw FormatError(fmt::format("{} has a length of {} bytes, of which {} are left in the file; {}", what, length, left(),
                                    kAgain), file_.path().string(), begin);
    }
    const std::byte* data = take(static_cast<int64_t>(length), what);
    return {reinterpret_cast<const char*>(data), static_cast<size_t>(length)};
  }
  [[noreturn]] void fail(const std::string& message, int64_t at) const { throw FormatError(message, file_.path().string(), at); }

 private:
  const MappedFile& file_;
  int64_t at_ = 0;
};

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path) {
  Cursor cursor(file_);
  const std::byte* magic = cursor.take(4, "the first 4 bytes");
  if (std::memcmp(magic, "GGUF", 4) != 0) cursor.fail("it does not begin with 'GGUF': not a GGUF file, or damaged", 0);
  version_ = cursor.read<uint32_t>("the version");
  if (version_ == 0x02000000u || version_ == 0x03000000u) {
    cursor.fail("it is big-endian; nibble reads little-endian GGUF files, convert it with gguf-py's gguf_convert_endian.py", 4);
  }
  if (version_ != 2 && version_ != 3) {
    cursor.fail(fmt::format("it is GGUF version {}; nibble reads 2 and 3, make it again with a current llama.cpp", version_), 4);
  }
  const auto tensors = cursor.read<uint64_t>("the number of tensors");
  const auto pairs = cursor.read<uint64_t>("the number of metadata pairs");
  if (pairs > static_cast<uint64_t>(cursor.left() / kMinPairBytes)) {
    cursor.fail(fmt::format("it claims {} metadata pairs, more than {} bytes can hold; {}", pairs, cursor.left(), kAgain), 16);
  }
  for (uint64_t i = 0; i < pairs; ++i) {
    const int64_t begin = cursor.at();
    std::string key(cursor.string("a metadata key"));
    const auto type = cursor.read<uint32_t>("a metadata type");
    Value value = read_value(cursor, type, key);
    if (!values_.emplace(key, std::move(value)).second) cursor.fail(fmt::format("metadata '{}' is there twice; {}", key, kAgain), begin);
  }
  if (find_int("split.count").value_or(1) > 1) {
    throw FormatError("it is one part of a split GGUF; join the parts first: llama-gguf-split --merge FIRST_PART OUT.gguf",
                      path.string());
  }
  read_tensors(cursor, tensors);
  check_layout();
}

GgufFile::Value GgufFile::read_value(Cursor& cursor, uint32_t type, const std::string& key) const {
  const char* what = "a metadata value";
  switch (type) {
    case kU8: return int64_t{cursor.read<uint8_t>(what)};
    case kI8: return int64_t{cursor.read<int8_t>(what)};
    case kU16: return int64_t{cursor.read<uint16_t>(what)};
    case kI16: return int64_t{cursor.read<int16_t>(what)};
    case kU32: return int64_t{cursor.read<uint32_t>(what)};
    case kI32: return int64_t{cursor.read<int32_t>(what)};
    case kI64: return cursor.read<int64_t>(what);
    case kF32: return double{cursor.read<float>(what)};
    case kF64: return cursor.read<double>(what);
    case kString: return std::string(cursor.string(what));
    case kU64: {
      const auto value = cursor.read<uint64_t>(what);
      if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return static_cast<int64_t>(value);
      return value;
    }
    case kBool: {
      const auto value = cursor.read<uint8_t>(what);
      if (value > 1) cursor.fail(fmt::format("metadata '{}' is a bool with the value {}; {}", key, value, kAgain), cursor.at() - 1);
      return value == 1;
    }
    case kArray: {
      Array array;
      array.type = cursor.read<uint32_t>(what);
      const auto count = cursor.read<uint64_t>(what);
      array.begin = cursor.at();
      const int64_t bytes = fixed_bytes(array.type);
      if (bytes < 0 || array.type == kArray) {
        cursor.fail(fmt::format("metadata '{}' is an array of type {}, which nibble does not read; {}", key, array.type, kAgain),
                    array.begin - 12);
      }
      if (count > static_cast<uint64_t>(cursor.left() / std::max<int64_t>(bytes, bytes == 0 ? 8 : 1))) {
        cursor.fail(fmt::format("metadata '{}' is an array of {} values, more than {} bytes can hold; {}", key, count, cursor.left(),
                                kAgain), array.begin - 8);
      }
      array.count = static_cast<int64_t>(count);
      if (bytes > 0) {
        cursor.take(array.count * bytes, what);
      } else {
        for (int64_t i = 0; i < array.count; ++i) cursor.string("a string in a metadata array");
      }
      return array;
    }
    default: cursor.fail(fmt::format("metadata '{}' has the unknown type {}; {}", key, type, kAgain), cursor.at() - 4);
  }
}

void GgufFile::read_tensors(Cursor& cursor, uint64_t count) {
  if (count > static_cast<uint64_t>(cursor.left() / kMinTensorBytes)) {
    cursor.fail(fmt::format("it claims {} tensors, more than {} bytes can describe; {}", count, cursor.left(), kAgain), 8);
  }
  for (uint64_t i = 0; i < count; ++i) {
    const int64_t begin = cursor.at();
    GgufTensor tensor;
    tensor.name = cursor.string("a tensor's name");
    const auto dimensions = cursor.read<uint32_t>("a tensor's dimensions");
    if (dimensions > kMaxDimensions) {
      cursor.fail(fmt::format("tensor '{}' has {} dimensions, at most {} are possible; {}", tensor.name, dimensions, kMaxDimensions,
                              kAgain), begin);
    }
    int64_t elements = 1;
    for (uint32_t d = 0; d < dimensions; ++d) {
      const auto size = cursor.read<uint64_t>("a tensor's shape");
      if (size == 0 || size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
          __builtin_mul_overflow(elements, static_cast<int64_t>(size), &elements)) {
        cursor.fail(fmt::format("tensor '{}' has an impossible size {} in its shape; {}", tensor.name, size, kAgain), begin);
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
    }
    const auto type = cursor.read<uint32_t>("a tensor's type");
    const GgmlTraits* traits = find_ggml_traits(type);
    if (traits == nullptr) {
      cursor.fail(fmt::format("tensor '{}' is stored as {}; nibble reads F32, F16, BF16, Q8_0, Q4_0 and Q4_1: take another file of "
                              "this model, or make one with llama-quantize --allow-requantize IN OUT Q8_0", tensor.name,
                              ggml_type_name(type)), begin);
    }
    tensor.type = traits->type;
    if (tensor.row_elements() % traits->block_elements != 0) {
      cursor.fail(fmt::format("tensor '{}' has rows of {} values, but {} stores {} together; {}", tensor.name, tensor.row_elements(),
                              traits->name, traits->block_elements, kAgain), begin);
    }
    if (__builtin_mul_overflow(elements / traits->block_elements, traits->block_bytes, &tensor.bytes)) {
      cursor.fail(fmt::format("tensor '{}' is larger than any file; {}", tensor.name, kAgain), begin);
    }
    const auto offset = cursor.read<uint64_t>("a tensor's offset");
    if (offset > static_cast<uint64_t>(file_.size())) {
      cursor.fail(fmt::format("tensor '{}' lies at data byte {}, beyond the file's {} bytes; {}", tensor.name, offset, file_.size(),
                              kAgain), begin);
    }
    tensor.begin = static_cast<int64_t>(offset);
    if (!index_.emplace(tensor.name, tensors_.size()).second) {
      cursor.fail(fmt::format("tensor '{}' is there twice; {}", tensor.name, kAgain), begin);
    }
    tensors_.push_back(std::move(tensor));
  }
  data_begin_ = cursor.at();
}

void GgufFile::check_layout() {
  const std::string path = file_.path().string();
  const int64_t alignment = find_int("general.alignment").value_or(32);
  if (alignment < 1 || alignment > (int64_t{1} << 30) || !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    throw FormatError(fmt::format("general.alignment is {}, it must be a power of two; {}", alignment, kAgain), path);
  }
  data_begin_ = round_up(data_begin_, alignment);
  std::vector<const GgufTensor*> by_place;
  for (GgufTensor& tensor : tensors_) {
    if (tensor.begin % alignment != 0) {
      throw FormatError(fmt::format("tensor '{}' lies at data byte {}, no multiple of {}; {}", tensor.name, tensor.begin, alignment,
                                    kAgain), path, data_begin_);
    }
    tensor.begin += data_begin_;
    if (tensor.begin > file_.size() || tensor.bytes > file_.size() - tensor.begin) {
      throw FormatError(fmt::format("tensor '{}' has {} bytes from byte {} on, beyond the file's {} bytes; {}", tensor.name,
                                    tensor.bytes, tensor.begin, file_.size(), kAgain), path, file_.size());
    }
    by_place.push_back(&tensor);
  }
  std::sort(by_place.begin(), by_place.end(), [](const auto* a, const auto* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < by_place.size(); ++i) {
    const GgufTensor& before = *by_place[i - 1];
    if (before.begin + before.bytes > by_place[i]->begin) {
      throw FormatError(fmt::format("tensors '{}' and '{}' overlap; {}", before.name, by_place[i]->name, kAgain), path,
                        by_place[i]->begin);
    }
  }
}

std::span<const std::byte> GgufFile::header() const {
  return file_.bytes().first(static_cast<size_t>(std::min(data_begin_, file_.size())));
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

std::span<const std::byte> GgufFile::bytes(const GgufTensor& tensor) const {
  return file_.bytes().subspan(static_cast<size_t>(tensor.begin), static_cast<size_t>(tensor.bytes));
}

int64_t GgufTensor::rows() const {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

int64_t GgufTensor::row_bytes() const {
  const GgmlTraits& traits = ggml_traits(type);
  return row_elements() / traits.block_elements * traits.block_bytes;
}

const GgufFile::Value* GgufFile::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

void GgufFile::wrong_type(std::string_view key, const char* expected) const {
  throw FormatError(fmt::format("metadata '{}' is not {}", key, expected), file_.path().string());
}

void GgufFile::missing(std::string_view key) const {
  throw FormatError(fmt::format("it has no metadata '{}': not a language model, or made by an old converter", key),
                    file_.path().string());
}

std::optional<int64_t> GgufFile::find_int(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* n = std::get_if<int64_t>(value)) return *n;
  wrong_type(key, "a whole number");
}

std::optional<double> GgufFile::find_float(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* x = std::get_if<double>(value)) return *x;
  if (const auto* n = std::get_if<int64_t>(value)) return static_cast<double>(*n);
  wrong_type(key, "a number");
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* b = std::get_if<bool>(value)) return *b;
  wrong_type(key, "a bool");
}

std::optional<std::string> GgufFile::find_string(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(value)) return *text;
  wrong_type(key, "a string");
}

int64_t GgufFile::get_int(std::string_view key) const {
  if (const auto value = find_int(key)) return *value;
  missing(key);
}

double GgufFile::get_float(std::string_view key) const {
  if (const auto value = find_float(key)) return *value;
  missing(key);
}

std::string GgufFile::get_string(std::string_view key) const {
  if (auto value = find_string(key)) return *std::move(value);
  missing(key);
}

bool GgufFile::is_array(std::string_view key) const {
  const Value* value = find(key);
  return value != nullptr && std::holds_alternative<Array>(*value);
}

const GgufFile::Array* GgufFile::find_array(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* array = std::get_if<Array>(value)) return array;
  wrong_type(key, "an array");
}

std::vector<std::string> GgufFile::get_strings(std::string_view key) const {
  std::vector<std::string> strings;
  const Array* array = find_array(key);
  if (array == nullptr) return strings;
  if (array->type != kString) wrong_type(key, "an array of strings");
  Cursor cursor(file_);
  cursor.take(array->begin, "a metadata array");
  strings.reserve(static_cast<size_t>(array->count));
  for (int64_t i = 0; i < array->count; ++i) strings.emplace_back(cursor.string("a string in a metadata array"));
  return strings;
}

std::vector<float> GgufFile::get_f32s(std::string_view key) const {
  const Array* array = find_array(key);
  if (array == nullptr) return {};
  if (array->type != kF32) wrong_type(key, "an array of fp32 numbers");
  std::vector<float> values(static_cast<size_t>(array->count));
  if (!values.empty()) std::memcpy(values.data(), file_.bytes().data() + array->begin, values.size() * sizeof(float));
  return values;
}

std::vector<int32_t> GgufFile::get_i32s(std::string_view key) const {
  const Array* array = find_array(key);
  if (array == nullptr) return {};
  if (array->type != kI32 && array->type != kU32) wrong_type(key, "an array of 32-bit integers");
  std::vector<int32_t> values(static_cast<size_t>(array->count));
  if (!values.empty()) std::memcpy(values.data(), file_.bytes().data() + array->begin, values.size() * sizeof(int32_t));
  if (array->type == kU32 && std::any_of(values.begin(), values.end(), [](int32_t v) { return v < 0; })) {
    wrong_type(key, "an array of numbers below 2^31");
  }
  return values;
}

}  // namespace nibble::io
