// zstd (RFC 8878) through libzstd, which checks a frame's checksum where it has one.
#include <zstd.h>
#include <zstd_errors.h>

#include <fmt/core.h>

#include <new>

#include "core/error.h"
#include "data/byte_source.h"

namespace nibble::data {
namespace {

// What a decoder keeps of a frame's past: libzstd's own default, which every level but --ultra and --long stays below.
constexpr int kWindowLog = 27;  // 128 MiB

class ZstdSource : public ByteSource {
 public:
  explicit ZstdSource(std::unique_ptr<FileSource> file) : input_(std::move(file)), decoder_(ZSTD_createDCtx()) {
    if (decoder_ == nullptr) throw std::bad_alloc();
    ZSTD_DCtx_setParameter(decoder_, ZSTD_d_windowLogMax, kWindowLog);
  }
  ZstdSource(const ZstdSource&) = delete;
  ~ZstdSource() override { ZSTD_freeDCtx(decoder_); }

  size_t read(char* into, size_t size) override {
    if (ZSTD_isError(failed_)) fail(failed_);
    ZSTD_outBuffer out{into, size, 0};
    while (out.pos == 0) {
      const std::string_view rest = input_.rest();
      if (rest.empty() && !in_frame_) return 0;
      ZSTD_inBuffer in{rest.data(), rest.size(), 0};
      const size_t status = ZSTD_decompressStream(decoder_, &out, &in);
      input_.take(in.pos);
      if (ZSTD_isError(status)) {
        // What was decompressed before the damage is given out first.
        if (out.pos == 0) fail(status);
        failed_ = status;
        break;
      }
      in_frame_ = status != 0;
      // Without input the decoder still hands out what it holds; where that is nothing, the rest of the frame is missing.
      if (rest.empty() && in_frame_ && out.pos == 0) input_.fail("zstd", "ends early: the file is cut off");
    }
    return out.pos;
  }

 private:
  [[noreturn]] void fail(size_t status) const {
    switch (ZSTD_getErrorCode(status)) {
      case ZSTD_error_memory_allocation: throw std::bad_alloc();
      case ZSTD_error_frameParameter_windowTooLarge:
        input_.fail("zstd", fmt::format("needs a window above {} MiB (made with --long or --ultra): decompress it first (unzstd --long=31)",
                                        1 << (kWindowLog - 20)));
      case ZSTD_error_prefix_unknown: input_.fail("zstd", "is followed by bytes that are no zstd data");
      case ZSTD_error_dictionary_wrong: input_.fail("zstd", "was compressed with a dictionary: decompress it first (unzstd -D)");
      default: input_.fail("zstd", fmt::format("is damaged ({}): make the file again", ZSTD_getErrorName(status)));
    }
  }

  CompressedInput input_;
  ZSTD_DCtx* decoder_;
  bool in_frame_ = false;
  size_t failed_ = 0;  // libzstd's code, to be told when the next bytes are asked for
};

}  // namespace

std::unique_ptr<ByteSource> zstd_source(std::unique_ptr<FileSource> file) { return std::make_unique<ZstdSource>(std::move(file)); }

}  // namespace nibble::data
