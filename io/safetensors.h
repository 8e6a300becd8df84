// safetensors files: reading with every offset checked, writing as a stream.
//
//   u64 little-endian N | N bytes of JSON, padded with spaces | tensor bytes
//   JSON: {"__metadata__": {string: string}, "<name>": {"dtype": "BF16", "shape": [..], "data_offsets": [begin, end]}, ..}
//
// Offsets count from the end of the header. The tensors cover the rest of the file without holes or overlap; the values
// are little-endian, row-major, and need not be aligned. Format and limits as in github.com/huggingface/safetensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/dtype.h"
#include "core/file.h"

namespace nibble::io {

inline constexpr int64_t kSafetensorsMaxHeaderBytes = 100'000'000;  // the reference implementation's limit

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  int64_t begin = 0;  // byte offset in the file
  int64_t bytes = 0;
};

class SafetensorsFile {
 public:
  // Maps the file and checks its header against its size. THROWS IoError, FormatError
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  int64_t size() const { return file_.size(); }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  // in the order of their bytes
  const SafetensorsEntry* find(std::string_view name) const;                // nullptr: not there
  const SafetensorsEntry& at(std::string_view name) const;                  // THROWS FormatError: not there
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::string_view header() const;  // the JSON text
  std::span<const std::byte> all_bytes() const { return file_.bytes(); }

  // The bytes of a tensor: a view of the mapping, perhaps unaligned.
  std::span<const std::byte> bytes(const SafetensorsEntry& entry) const;
  // Lets the pages of a tensor go; see MappedFile::drop.
  void drop(const SafetensorsEntry& entry) const { file_.drop(entry.begin, entry.bytes); }

 private:
  void read_header();
  void check_layout();

  MappedFile file_;
  int64_t header_bytes_ = 0;
  std::vector<SafetensorsEntry> entries_;
  std::unordered_map<std::string, size_t> index_;
  std::map<std::string, std::string> metadata_;
};

// What is to be written: tensors in the order of their bytes.
struct SafetensorsPlan {
  struct Tensor {
    std::string name;
    DType dtype = DType::kF32;
    std::vector<int64_t> shape;
  };
  std::vector<Tensor> tensors;
  std::map<std::string, std::string> metadata;

  // The reference implementation's order: wide types first, so that all are aligned, then by name.
  void sort();
};

class SafetensorsWriter {
 public:
  // Writes the header. THROWS IoError
  SafetensorsWriter(const std::filesystem::path& path, SafetensorsPlan plan);

  // The next bytes of tensor `name`. Tensors come in the plan's order, each in one or more pieces that together are
  // exactly as long as it (std::logic_error otherwise). THROWS IoError
  void write(std::string_view name, std::span<const std::byte> bytes);
  // After the last tensor: flush, fsync, close. THROWS IoError
  void close();
  int64_t size() const { return file_.size(); }

 private:
  void skip_finished();

  FileWriter file_;
  SafetensorsPlan plan_;
  size_t next_ = 0;      // tensor being written
  int64_t written_ = 0;  // bytes of it
};

// Elements and bytes of a shape; -1 where one does not fit 63 bits or a size is negative.
int64_t checked_numel(std::span<const int64_t> shape);
int64_t checked_bytes(std::span<const int64_t> shape, DType dtype);
std::string shape_text(std::span<const int64_t> shape);  // "[4, 64]"

}  // namespace nibble::io
