// The bytes of a data file, in order, decompressed on the way: plain, gzip (zlib) or zstd (libzstd).
//
// Nothing is held but a buffer of fixed size and the decoder's window (gzip 32 KiB, zstd 128 MiB at most), so a file that
// decompresses to terabytes takes no more memory than another. What a file is tells its first bytes, never its name.
// Several gzip members or zstd frames in one file follow each other, as `cat a.gz b.gz` makes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace nibble::data {

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // Fills the front of `into`; the number of bytes, 0 only at the end. REQUIRES size > 0.
  // THROWS DataError with the byte offset in the file where a compressed stream is damaged or cut off; IoError.
  virtual size_t read(char* into, size_t size) = 0;
};

// A regular file's own bytes. THROWS IoError; DataError where the path is a directory or no regular file.
class FileSource : public ByteSource {
 public:
  explicit FileSource(const std::filesystem::path& path);
  FileSource(const FileSource&) = delete;
  ~FileSource() override;
  size_t read(char* into, size_t size) override;
  void rewind();  // to the file's first byte. THROWS IoError
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
};

// What a decoder reads from: the file in pieces, with the offset of what comes next.
class CompressedInput {
 public:
  explicit CompressedInput(std::unique_ptr<FileSource> file) : file_(std::move(file)), buffer_(kBufferBytes, '\0') {}

  std::string_view rest();          // what is there to decode; "" at the file's end
  void take(size_t bytes);          // the decoder is done with the first of rest()
  int64_t offset() const { return offset_; }  // of rest()'s first byte in the file
  // DataError "the KIND data WHAT" at the offset.
  [[noreturn]] void fail(std::string_view kind, const std::string& what) const;

 private:
  static constexpr size_t kBufferBytes = size_t{1} << 16;
  std::unique_ptr<FileSource> file_;
  std::string buffer_;
  size_t begin_ = 0, end_ = 0;  // of rest() in buffer_
  int64_t offset_ = 0;
};

std::unique_ptr<ByteSource> gzip_source(std::unique_ptr<FileSource> file);
std::unique_ptr<ByteSource> zstd_source(std::unique_ptr<FileSource> file);

// The kind of a file from its first bytes.
enum class FileKind : uint8_t { kPlain, kGzip, kZstd, kParquet };
inline constexpr size_t kMagicBytes = 8;

// THROWS DataError naming what the bytes are where nibble does not read it (zip, xz, UTF-16, ...) and what to do.
FileKind file_kind(std::string_view first_bytes, const std::string& path);

}  // namespace nibble::data
