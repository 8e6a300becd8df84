// gzip (RFC 1952) through zlib, which checks every member's CRC-32 and length.
#include <zlib.h>

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <new>

#include "core/error.h"
#include "data/byte_source.h"

namespace nibble::data {
namespace {

constexpr int kGzipOnly = 15 + 16;  // zlib: largest window, gzip header and no other

class GzipSource : public ByteSource {
 public:
  explicit GzipSource(std::unique_ptr<FileSource> file) : input_(std::move(file)) {
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) throw std::bad_alloc();
  }
  GzipSource(const GzipSource&) = delete;
  ~GzipSource() override { inflateEnd(&stream_); }

  size_t read(char* into, size_t size) override {
    size = std::min<size_t>(size, std::numeric_limits<uInt>::max());
    stream_.next_out = reinterpret_cast<Bytef*>(into);
    stream_.avail_out = static_cast<uInt>(size);
    while (stream_.avail_out == size) {
      if (!in_member_ && !begin_member()) return 0;
      const std::string_view rest = input_.rest();
      if (rest.empty()) input_.fail("gzip", "ends early: the file is cut off");
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(rest.data()));  // zlib only reads
      stream_.avail_in = static_cast<uInt>(rest.size());
      const int status = inflate(&stream_, Z_NO_FLUSH);
      input_.take(rest.size() - stream_.avail_in);
      if (status == Z_STREAM_END) {
        in_member_ = false;
      } else if (status == Z_MEM_ERROR) {
        throw std::bad_alloc();
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        // What was decompressed before the damage is given out first; zlib then says the same again.
        if (stream_.avail_out < size) break;
        input_.fail("gzip", fmt::format("is damaged ({}): make the file again", stream_.msg != nullptr ? stream_.msg : "needs a dictionary"));
      }
    }
    return size - stream_.avail_out;
  }

 private:
  // False at the file's end. Zeros behind a member are padding, as tapes and block devices leave it.
  bool begin_member() {
    std::string_view rest = input_.rest();
    if (!first_) {
      while (!rest.empty() && rest.front() == '\0') {
        const size_t zeros = std::min(rest.find_first_not_of('\0'), rest.size());
        input_.take(zeros);
        rest = input_.rest();
      }
    }
    if (rest.empty()) return false;
    if (!first_ && rest.front() != '\x1F') input_.fail("gzip", "is followed by bytes that are no gzip data");
    first_ = false;
    inflateReset(&stream_);
    in_member_ = true;
    return true;
  }

  CompressedInput input_;
  z_stream stream_{};
  bool in_member_ = false, first_ = true;
};

}  // namespace

std::unique_ptr<ByteSource> gzip_source(std::unique_ptr<FileSource> file) { return std::make_unique<GzipSource>(std::move(file)); }

}  // namespace nibble::data
