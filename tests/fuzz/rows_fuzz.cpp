// libFuzzer target: a data file of any bytes, cut into rows, parsed, and read as every schema. Nothing but DataError may
// come out of it.
//
// The input's first byte says how large the reader's blocks are; the rest is the file.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "data/row_schema.h"
#include "data/row_stream.h"

namespace {

using namespace nibble;
using namespace nibble::data;

constexpr int64_t kVocab = 1000;

// Every schema on its own row, whatever the rows before it were.
void read_as_every_schema(const Row& row, const RowPlace& place) {
  const Json json = parse_row(row, place);
  for (int format = 0; format <= static_cast<int>(DatasetFormat::kSegments); ++format) {
    try {
      const RowShape shape = choose_shape(static_cast<DatasetFormat>(format), {}, json, place);
      read_row(shape, json, place, kVocab);
    } catch (const DataError&) {
    }
  }
}

void read_file(const std::string& path, size_t block_bytes) {
  RowStream stream(path, block_bytes, int64_t{1} << 20);
  for (RowBlock block; stream.next(block);) {
    for (const Row& row : block.rows) {
      // The views must lie in the text, or reading them is an error that the sanitizer sees.
      if (row.text.empty() || row.line < 1) std::abort();
      try {
        read_as_every_schema(row, {stream.path(), row.line, stream.counts_rows()});
      } catch (const DataError&) {
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const int file = memfd_create("rows", MFD_CLOEXEC);
  if (file < 0 || write(file, data + 1, size - 1) != static_cast<ssize_t>(size - 1)) std::abort();
  try {
    read_file("/proc/self/fd/" + std::to_string(file), size_t{1} << (data[0] % 12));
  } catch (const DataError&) {
  }
  close(file);
  return 0;
}
