// Values of Apache Arrow as JSON text; what parquet_rows makes rows of. Only where the build has Arrow.
#pragma once

#include <cstdint>
#include <string>

namespace arrow {
class DataType;
class RecordBatch;
}  // namespace arrow

namespace nibble::data {

// Whether values of this type have a form in JSON; of nested types, whether a part has.
bool is_json_type(const arrow::DataType& type);

// Appends row `row` as an object, columns in their order. Strings are taken as they are: whether they are UTF-8 is the row
// parser's business. REQUIRES a batch that ValidateFull() accepts, 0 <= row < its rows.
void append_json_row(const arrow::RecordBatch& batch, int64_t row, std::string& out);

}  // namespace nibble::data
