#include "data/byte_source.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "core/error.h"

namespace nibble::data {

FileSource::FileSource(const std::filesystem::path& path) : path_(path.string()) {
  struct stat status {};
  // Asked before opening: opening a pipe would wait for its writer.
  if (::stat(path.c_str(), &status) != 0) throw IoError("cannot open the file", path_, errno);
  if (S_ISDIR(status.st_mode)) throw DataError("is a directory, not a file: name the file in it", Place{path_});
  if (!S_ISREG(status.st_mode)) throw DataError("is no regular file (a pipe or device): data is read more than once, so write it to a file first", Place{path_});
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) throw IoError("cannot open the file", path_, errno);
  (void)::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);  // a hint
}

FileSource::~FileSource() {
  if (fd_ >= 0) ::close(fd_);
}

size_t FileSource::read(char* into, size_t size) {
  for (;;) {
    const ssize_t got = ::read(fd_, into, size);
    if (got >= 0) return static_cast<size_t>(got);
    if (errno != EINTR) throw IoError("cannot read the file", path_, errno);
  }
}

void FileSource::rewind() {
  if (::lseek(fd_, 0, SEEK_SET) != 0) throw IoError("cannot go back to the file's beginning", path_, errno);
}

std::string_view CompressedInput::rest() {
  if (begin_ == end_) {
    begin_ = 0;
    end_ = file_->read(buffer_.data(), buffer_.size());
  }
  return std::string_view(buffer_).substr(begin_, end_ - begin_);
}

void CompressedInput::take(size_t bytes) {
  begin_ += bytes;
  offset_ += static_cast<int64_t>(bytes);
}

void CompressedInput::fail(std::string_view kind, const std::string& what) const {
  throw DataError(fmt::format("the {} data {}", kind, what), Place{file_->path(), 0, 0, offset_});
}

FileKind file_kind(std::string_view first_bytes, const std::string& path) {
  using namespace std::string_view_literals;
  if (first_bytes.starts_with("\x1F\x8B"sv)) return FileKind::kGzip;
  if (first_bytes.starts_with("\x28\xB5\x2F\xFD"sv)) return FileKind::kZstd;
  // A skippable frame in front, as parallel compressors write it: 50..5F 2A 4D 18.
  if (first_bytes.size() >= 4 && (first_bytes[0] & 0xF0) == 0x50 && first_bytes.substr(1, 3) == "\x2A\x4D\x18"sv) return FileKind::kZstd;
  if (first_bytes.starts_with("PAR1"sv)) return FileKind::kParquet;

  struct Foreign {
    std::string_view magic;
    const char* what;
  };
  static constexpr std::array<Foreign, 11> kForeign = {{
      {"PK\x03\x04"sv, "a zip archive: unpack it first (unzip)"},
      {"\xFD" "7zXZ\0"sv, "xz data: decompress it first (unxz)"},
      {"BZh"sv, "bzip2 data: decompress it first (bunzip2)"},
      {"\x04\x22\x4D\x18"sv, "lz4 data: decompress it first (unlz4)"},
      {"7z\xBC\xAF\x27\x1C"sv, "a 7-Zip archive: unpack it first"},
      {"PARE"sv, "an encrypted Parquet file: write it without encryption first"},
      {"ARROW1"sv, "an Arrow file: write it as Parquet or JSON lines first (datasets: to_parquet, to_json)"},
      {"\xFF\xFF\xFF\xFF"sv, "an Arrow stream: write it as Parquet or JSON lines first (datasets: to_parquet, to_json)"},
      {"SQLite format"sv.substr(0, kMagicBytes), "an SQLite database: export its rows as JSON lines first"},
      {"\xFF\xFE"sv, "UTF-16 text: convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)"},
      {"\xFE\xFF"sv, "UTF-16 text: convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)"},
  }};
  for (const Foreign& foreign : kForeign) {
    if (first_bytes.starts_with(foreign.magic)) throw DataError(fmt::format("is {}", foreign.what), Place{path});
  }
  return FileKind::kPlain;
}

}  // namespace nibble::data
