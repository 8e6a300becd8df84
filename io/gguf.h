// GGUF files (versions 2 and 3): the header with every offset checked, and the bytes of the tensors.
//
//   "GGUF" | u32 version | u64 tensors | u64 metadata pairs
//   pair:   string key | u32 type | value          string: u64 length | bytes      array: u32 type | u64 count | values
//   tensor: string name | u32 dimensions | u64 sizes, innermost first | u32 type | u64 offset
//   padding to general.alignment (32 unless given) | tensor bytes, each at a multiple of the alignment
//
// All little-endian. Offsets count from the start of the tensor bytes. Format as in ggml's docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/file.h"

namespace nibble::io {

// The storage types that nibble reads, by their numbers in the file.
enum class GgmlType : uint32_t { kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8, kBF16 = 30 };

struct GgmlTraits {
  GgmlType type;
  std::string_view name;
  int64_t block_elements;  // values that are stored together
  int64_t block_bytes;
};
const GgmlTraits* find_ggml_traits(uint32_t type);   // nullptr: nibble does not read it
const GgmlTraits& ggml_traits(GgmlType type);
std::string ggml_type_name(uint32_t type);           // also of types that nibble does not read; "type 77": unknown

struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<int64_t> shape;  // outermost first, as everywhere in nibble: [Out, In]
  int64_t begin = 0;           // byte offset in the file
  int64_t bytes = 0;

  int64_t row_elements() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const;
  int64_t row_bytes() const;
};

class GgufFile {
 public:
  // Maps the file and checks its whole header. THROWS IoError; FormatError for a damaged file, another version, or a
  // tensor type that nibble does not read.
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  int64_t size() const { return file_.size(); }
  uint32_t version() const { return version_; }
  int64_t data_begin() const { return data_begin_; }  // size of everything before the tensor bytes

  // Metadata. find_*: nullopt where the key is absent. get_*: THROWS FormatError naming the key where it is absent.
  // Both THROW FormatError where the value has another type. Integers of every width and sign are one kind.
  bool has(std::string_view key) const { return values_.find(key) != values_.end(); }
  std::optional<int64_t> find_int(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;  // an integer counts as well
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string> find_string(std::string_view key) const;
  int64_t get_int(std::string_view key) const;
  double get_float(std::string_view key) const;
  std::string get_string(std::string_view key) const;
  // Arrays; empty where the key is absent. THROWS FormatError for another element type or a value outside the range.
  std::vector<std::string> get_strings(std::string_view key) const;
  std::vector<float> get_f32s(std::string_view key) const;
  std::vector<int32_t> get_i32s(std::string_view key) const;
  bool is_array(std::string_view key) const;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;  // nullptr: not there
  std::span<const std::byte> bytes(const GgufTensor& tensor) const;
  void drop(const GgufTensor& tensor) const { file_.drop(tensor.begin, tensor.bytes); }
  // Everything before the tensor bytes: what names, shapes and metadata are read from.
  std::span<const std::byte> header() const;
  std::span<const std::byte> all_bytes() const { return file_.bytes(); }

 private:
  struct Array {
    uint32_t type = 0;   // of its elements
    int64_t count = 0;
    int64_t begin = 0;   // byte offset in the file
  };
  using Value = std::variant<int64_t, uint64_t, double, bool, std::string, Array>;
  class Cursor;

  Value read_value(Cursor& cursor, uint32_t type, const std::string& key) const;
  void read_tensors(Cursor& cursor, uint64_t count);
  void check_layout();
  const Value* find(std::string_view key) const;
  const Array* find_array(std::string_view key) const;
  [[noreturn]] void wrong_type(std::string_view key, const char* expected) const;
  [[noreturn]] void missing(std::string_view key) const;

  MappedFile file_;
  uint32_t version_ = 0;
  int64_t data_begin_ = 0;
  std::map<std::string, Value, std::less<>> values_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

// Decodes rows [first_row, first_row + rows) of a tensor to fp32: [rows, row_elements]. NUMERICS as ggml's reference
// code, products and sums rounded one by one.
void dequantize_rows(const GgufFile& file, const GgufTensor& tensor, int64_t first_row, int64_t rows, float* into);

}  // namespace nibble::io
