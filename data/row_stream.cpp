#include "data/row_stream.h"

#include <fmt/core.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "core/error.h"
#include "data/byte_source.h"
#include "data/parquet_rows.h"
#include "data/row_splitter.h"

namespace nibble::data {
namespace {

constexpr size_t kHeadBytes = size_t{1} << 16;  // read to find where the text begins
constexpr size_t kNoShortString = 64;           // a string of this capacity keeps its characters in place when moved

struct Limits {
  size_t block_bytes, row_bytes;
};

size_t read_up_to(ByteSource& source, char* into, size_t size) {
  size_t have = 0;
  while (have < size) {
    const size_t got = source.read(into + have, size - have);
    if (got == 0) break;
    have += got;
  }
  return have;
}

}  // namespace

class RowStream::Reader {
 public:
  Reader(std::string path, Limits limits) : path_(std::move(path)), block_bytes_(limits.block_bytes), max_row_bytes_(limits.row_bytes) {}
  virtual ~Reader() = default;
  virtual bool counts_rows() const { return false; }
  const std::string& path() const { return path_; }

  bool next(RowBlock& block) {
    block.rows.clear();
    block.text.clear();
    block.text.reserve(std::max(block_bytes_, kNoShortString));
    if (pending_) std::rethrow_exception(std::exchange(pending_, nullptr));
    std::vector<RowSpan> spans;
    try {
      read_rows(block.text, spans);
    } catch (const Error&) {
      // Rows in front of the trouble come first, so that what is wrong with them is told first.
      if (spans.empty()) throw;
      pending_ = std::current_exception();
    }
    if (spans.empty() && rows_given_ == 0) throw DataError("the file holds no examples", Place{path_});
    block.first_row = rows_given_;
    const std::string_view text = block.text;
    for (const RowSpan& span : spans) block.rows.push_back({text.substr(span.begin, span.end - span.begin), span.line});
    rows_given_ += static_cast<int64_t>(spans.size());
    return !spans.empty();
  }

 protected:
  // Appends the text of the next rows, and their places in it; none at the file's end.
  virtual void read_rows(std::string& text, std::vector<RowSpan>& spans) = 0;

  bool is_too_long(size_t bytes) const { return bytes > max_row_bytes_; }
  [[noreturn]] void fail_too_long(int64_t line) const {
    throw DataError(fmt::format("a row of more than {} bytes: a data file has one example a line, or a JSON array of them; split the row",
                                max_row_bytes_), Place{path_, line});
  }

  std::string path_;
  size_t block_bytes_, max_row_bytes_;
  int64_t rows_given_ = 0;

 private:
  std::exception_ptr pending_;  // thrown when the next rows are asked for
};

class RowStream::TextReader : public Reader {
 public:
  TextReader(const std::string& path, std::unique_ptr<ByteSource> source, Limits limits)
      : Reader(path, limits), source_(std::move(source)), splitter_(find_beginning()) {
    begun_ = true;
  }

 private:
  void read_rows(std::string& text, std::vector<RowSpan>& spans) override {
    text.append(kept_);
    kept_.clear();
    for (;;) {
      splitter_.scan(text, at_end_, spans);
      if (at_end_ || (!spans.empty() && text.size() >= block_bytes_)) break;
      if (spans.empty()) text.erase(0, drop_finished());
      if (is_too_long(text.size() - splitter_.finished())) fail_too_long(splitter_.open_row_line());
      append(text, std::max(block_bytes_ - std::min(text.size(), block_bytes_), std::min(block_bytes_, kHeadBytes)));
    }
    const size_t finished = drop_finished();
    kept_.assign(text, finished, std::string::npos);
    text.resize(finished);
  }

  // Reads up to the first character that is not white space; what it read is in kept_.
  RowSplitter find_beginning() {
    while (kept_.size() < kMagicBytes && !at_end_) append(kept_, std::min(block_bytes_, kHeadBytes));
    // Of a plain file this is known; what was decompressed may be anything.
    if (file_kind(kept_, path_) != FileKind::kPlain) {
      throw DataError("holds compressed data that is compressed once more, or a compressed Parquet file: decompress it first", Place{path_});
    }
    size_t begin = kept_.starts_with("\xEF\xBB\xBF") ? 3 : 0;
    for (;;) {
      const size_t first = std::min(kept_.find_first_not_of(" \t\r\n", begin), kept_.size());
      begin_line_ += std::count(kept_.begin() + static_cast<std::ptrdiff_t>(begin), kept_.begin() + static_cast<std::ptrdiff_t>(first), '\n');
      begin = first;
      if (begin < kept_.size()) break;
      if (at_end_) throw DataError("the file is empty: no examples", Place{path_});
      kept_.clear();
      begin = 0;
      append(kept_, std::min(block_bytes_, kHeadBytes));
    }
    return RowSplitter(kept_[begin] == '[' ? RowSplitter::Form::kArray : RowSplitter::Form::kLines, begin, begin_line_, path_);
  }

  void append(std::string& text, size_t bytes) {
    const size_t before = text.size();
    text.resize(before + bytes);
    try {
      const size_t got = source_->read(text.data() + before, bytes);
      text.resize(before + got);
      at_end_ = got == 0;
    } catch (const DataError& error) {
      text.resize(before);
      const int64_t line = line_reached(text);
      throw DataError(fmt::format("{} (byte {} of the file, line {} of its text)", error.message(), error.place().byte_offset, line),
                      Place{path_, line});
    }
  }
  int64_t line_reached(const std::string& text) const {
    // While the beginning is looked for there is no splitter yet.
    return begun_ ? splitter_.line() : begin_line_ + std::count(text.begin(), text.end(), '\n');
  }
  // The bytes that the caller cuts off, keeps or gives out.
  size_t drop_finished() {
    const size_t finished = splitter_.finished();
    splitter_.drop(finished);
    return finished;
  }

  std::unique_ptr<ByteSource> source_;
  std::string kept_;      // read, and not given out
  bool at_end_ = false;
  bool begun_ = false;
  int64_t begin_line_ = 1;  // of kept_'s first byte, while the beginning is looked for
  RowSplitter splitter_;
};

class RowStream::ParquetReader : public Reader {
 public:
  ParquetReader(const std::string& path, Limits limits) : Reader(path, limits), rows_(path) {}
  bool counts_rows() const override { return true; }

 private:
  void read_rows(std::string& text, std::vector<RowSpan>& spans) override {
    while (text.size() < block_bytes_) {
      const size_t begin = text.size();
      if (!rows_.append_next(text)) break;
      const int64_t number = rows_given_ + static_cast<int64_t>(spans.size()) + 1;
      if (is_too_long(text.size() - begin)) fail_too_long(number);
      spans.push_back({begin, text.size(), number});
    }
  }

  ParquetRows rows_;
};

RowStream::RowStream(const std::filesystem::path& path, size_t block_bytes, int64_t max_row_bytes) {
  const Limits limits{std::max<size_t>(block_bytes, 1), static_cast<size_t>(max_row_bytes)};
  auto file = std::make_unique<FileSource>(path);
  char head[kMagicBytes];
  const FileKind kind = file_kind({head, read_up_to(*file, head, kMagicBytes)}, file->path());
  file->rewind();
  const std::string name = file->path();
  std::unique_ptr<ByteSource> source;
  switch (kind) {
    case FileKind::kPlain: source = std::move(file); break;
    case FileKind::kGzip: source = gzip_source(std::move(file)); break;
    case FileKind::kZstd: source = zstd_source(std::move(file)); break;
    case FileKind::kParquet: reader_ = std::make_unique<ParquetReader>(name, limits); return;
  }
  reader_ = std::make_unique<TextReader>(name, std::move(source), limits);
}

RowStream::RowStream(RowStream&&) noexcept = default;
RowStream& RowStream::operator=(RowStream&&) noexcept = default;
RowStream::~RowStream() = default;

bool RowStream::next(RowBlock& block) { return reader_->next(block); }
const std::string& RowStream::path() const { return reader_->path(); }
bool RowStream::counts_rows() const { return reader_->counts_rows(); }

}  // namespace nibble::data
