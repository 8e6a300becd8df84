#include "data/parquet_rows.h"

#include <fmt/core.h>

#include "core/error.h"

#if NIBBLE_PARQUET
#include <arrow/api.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>
#include <parquet/properties.h>

#include "data/arrow_json.h"
#endif

namespace nibble::data {

#if NIBBLE_PARQUET

namespace {

constexpr int64_t kBatchRows = 128;  // rows decoded at a time

}  // namespace

struct ParquetRows::State {
  std::string path;
  std::unique_ptr<parquet::arrow::FileReader> file;  // outlives batches
  std::unique_ptr<arrow::RecordBatchReader> batches;
  std::shared_ptr<arrow::RecordBatch> batch;
  int64_t next = 0;         // row of the batch
  int64_t rows_given = 0;

  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(fmt::format("the Parquet data is damaged or of a kind that Arrow does not read ({}): write the file again", what),
                    Place{path, rows_given > 0 ? rows_given + 1 : 0});
  }
  void check(const arrow::Status& status) const {
    if (status.IsOutOfMemory()) throw std::bad_alloc();
    if (!status.ok()) fail(status.message());
  }

  void open() {
    // Buffered streams: a column's pages are read one by one, not a row group's columns as a whole.
    parquet::ReaderProperties file_properties(arrow::system_memory_pool());
    file_properties.enable_buffered_stream();
    parquet::ArrowReaderProperties rows_properties(/*use_threads=*/false);
    rows_properties.set_batch_size(kBatchRows);
    rows_properties.set_pre_buffer(false);
    parquet::arrow::FileReaderBuilder builder;
    check(builder.OpenFile(path, /*memory_map=*/false, file_properties));
    builder.memory_pool(arrow::system_memory_pool())->properties(rows_properties);
    check(builder.Build(&file));
    std::shared_ptr<arrow::Schema> schema;
    check(file->GetSchema(&schema));
    std::string refused;
    for (const auto& column : schema->fields()) {
      if (is_json_type(*column->type())) return open_batches();
      refused += fmt::format("{}{} ({})", refused.empty() ? "" : ", ", column->name(), column->type()->ToString());
    }
    throw DataError(fmt::format("has no column that a row can be made of: {}", refused.empty() ? "there is none" : refused), Place{path});
  }
  void open_batches() {
    auto reader = file->GetRecordBatchReader();
    check(reader.status());
    batches = std::move(reader).ValueUnsafe();
  }

  bool append_next(std::string& text) {
    while (batch == nullptr || next == batch->num_rows()) {
      check(batches->ReadNext(&batch));
      if (batch == nullptr) return false;
      check(batch->ValidateFull());
      next = 0;
    }
    append_json_row(*batch, next++, text);
    ++rows_given;
    return true;
  }
};

bool reads_parquet() { return true; }

ParquetRows::ParquetRows(const std::string& path) : state_(std::make_unique<State>()) {
  state_->path = path;
  try {
    state_->open();
  } catch (const parquet::ParquetException& error) {
    state_->fail(error.what());
  }
}

ParquetRows::~ParquetRows() = default;

bool ParquetRows::append_next(std::string& text) {
  try {
    return state_->append_next(text);
  } catch (const parquet::ParquetException& error) {
    state_->fail(error.what());
  }
}

#else  // no Arrow in this build

struct ParquetRows::State {};

bool reads_parquet() { return false; }

ParquetRows::ParquetRows(const std::string& path) {
  throw DataError("is a Parquet file, which this build does not read; convert it to JSON lines: python3 -c \"import json, pyarrow.parquet as q; "
                  "[print(json.dumps(r)) for b in q.ParquetFile('FILE.parquet').iter_batches() for r in b.to_pylist()]\" > FILE.jsonl  (or "
                  "build with scripts/setup.sh --parquet and cmake -DNIBBLE_PARQUET=ON)", Place{path});
}

ParquetRows::~ParquetRows() = default;

bool ParquetRows::append_next(std::string&) { return false; }

#endif

}  // namespace nibble::data
