#include "data/arrow_json.h"

#if NIBBLE_PARQUET

#include <arrow/api.h>
#include <fmt/format.h>

#include <cmath>

namespace nibble::data {
namespace {

// Deeper types have no form: rows are refused at this depth anyway (data/json_row.h), and recursion must end.
constexpr int kMaxDepth = 64;

bool is_json_type_at(const arrow::DataType& type, int depth) {
  if (depth > kMaxDepth) return false;
  switch (type.id()) {
    case arrow::Type::NA:
    case arrow::Type::BOOL:
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
    case arrow::Type::UINT32:
    case arrow::Type::UINT64:
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::STRING_VIEW: return true;
    case arrow::Type::DICTIONARY:
      return is_json_type_at(*static_cast<const arrow::DictionaryType&>(type).value_type(), depth + 1);
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::FIXED_SIZE_LIST: return is_json_type_at(*type.field(0)->type(), depth + 1);
    case arrow::Type::MAP: {
      const auto& map = static_cast<const arrow::MapType&>(type);
      const auto key = map.key_type()->id();
      return (key == arrow::Type::STRING || key == arrow::Type::LARGE_STRING) && is_json_type_at(*map.item_type(), depth + 1);
    }
    case arrow::Type::STRUCT:
      for (const auto& field : type.fields()) {
        if (is_json_type_at(*field->type(), depth + 1)) return true;
      }
      return false;
    default: return false;
  }
}

void append_string(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<uint8_t>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_float(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  const size_t begin = out.size();
  fmt::format_to(std::back_inserter(out), "{}", value);
  // A whole number stays a floating-point one.
  if (out.find_first_of(".e", begin) == std::string::npos) out += ".0";
}

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  void value(const arrow::Array& array, int64_t i) {
    if (array.IsNull(i)) {
      out_ += "null";
      return;
    }
    switch (array.type_id()) {
      case arrow::Type::BOOL: out_ += static_cast<const arrow::BooleanArray&>(array).Value(i) ? "true" : "false"; return;
      case arrow::Type::INT8: return number<arrow::Int8Array>(array, i);
      case arrow::Type::INT16: return number<arrow::Int16Array>(array, i);
      case arrow::Type::INT32: return number<arrow::Int32Array>(array, i);
      case arrow::Type::INT64: return number<arrow::Int64Array>(array, i);
      case arrow::Type::UINT8: return number<arrow::UInt8Array>(array, i);
      case arrow::Type::UINT16: return number<arrow::UInt16Array>(array, i);
      case arrow::Type::UINT32: return number<arrow::UInt32Array>(array, i);
      case arrow::Type::UINT64: return number<arrow::UInt64Array>(array, i);
      case arrow::Type::FLOAT: return append_float(static_cast<double>(static_cast<const arrow::FloatArray&>(array).Value(i)), out_);
      case arrow::Type::DOUBLE: return append_float(static_cast<const arrow::DoubleArray&>(array).Value(i), out_);
      case arrow::Type::STRING: return append_string(static_cast<const arrow::StringArray&>(array).GetView(i), out_);
      case arrow::Type::LARGE_STRING: return append_string(static_cast<const arrow::LargeStringArray&>(array).GetView(i), out_);
      case arrow::Type::STRING_VIEW: return append_string(static_cast<const arrow::StringViewArray&>(array).GetView(i), out_);
      case arrow::Type::DICTIONARY: {
        const auto& encoded = static_cast<const arrow::DictionaryArray&>(array);
        return value(*encoded.dictionary(), encoded.GetValueIndex(i));
      }
      case arrow::Type::LIST: return list<arrow::ListArray>(array, i);
      case arrow::Type::LARGE_LIST: return list<arrow::LargeListArray>(array, i);
      case arrow::Type::FIXED_SIZE_LIST: return list<arrow::FixedSizeListArray>(array, i);
      case arrow::Type::MAP: return map(static_cast<const arrow::MapArray&>(array), i);
      case arrow::Type::STRUCT: return object(static_cast<const arrow::StructArray&>(array), i);
      default: out_ += "null"; return;  // left out by member() already
    }
  }

  void member(const std::string& name, const arrow::Array& array, int64_t i, bool& first) {
    if (!is_json_type(*array.type())) return;
    if (!first) out_ += ", ";
    first = false;
    append_string(name, out_);
    out_ += ": ";
    value(array, i);
  }

 private:
  template <class Array>
  void number(const arrow::Array& array, int64_t i) {
    fmt::format_to(std::back_inserter(out_), "{}", static_cast<const Array&>(array).Value(i));
  }
  template <class List>
  void list(const arrow::Array& array, int64_t i) {
    const auto& lists = static_cast<const List&>(array);
    const int64_t begin = lists.value_offset(i), end = begin + lists.value_length(i);
    out_ += '[';
    for (int64_t k = begin; k < end; ++k) {
      if (k > begin) out_ += ", ";
      value(*lists.values(), k);
    }
    out_ += ']';
  }
  void map(const arrow::MapArray& maps, int64_t i) {
    const int64_t begin = maps.value_offset(i), end = begin + maps.value_length(i);
    out_ += '{';
    for (int64_t k = begin; k < end; ++k) {
      if (k > begin) out_ += ", ";
      value(*maps.keys(), k);
      out_ += ": ";
      value(*maps.items(), k);
    }
    out_ += '}';
  }
  void object(const arrow::StructArray& structs, int64_t i) {
    bool first = true;
    out_ += '{';
    for (int f = 0; f < structs.num_fields(); ++f) member(structs.type()->field(f)->name(), *structs.field(f), i, first);
    out_ += '}';
  }

  std::string& out_;
};

}  // namespace

bool is_json_type(const arrow::DataType& type) { return is_json_type_at(type, 0); }

void append_json_row(const arrow::RecordBatch& batch, int64_t row, std::string& out) {
  Writer writer(out);
  bool first = true;
  out += '{';
  for (int c = 0; c < batch.num_columns(); ++c) writer.member(batch.column_name(c), *batch.column(c), row, first);
  out += '}';
}

}  // namespace nibble::data

#endif
