#include "schema/json_text.h"

#include <fmt/core.h>

#include <system_error>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace nibble::schema {
namespace {

// What nlohmann says in front of the cause: "[json.exception.parse_error.101] parse error at line 1, column 2: ".
std::string cause_of(const std::string& what) {
  const size_t at = what.find(": ");
  return at == std::string::npos ? what : what.substr(at + 2);
}

constexpr size_t kShown = 80;  // bytes of a name or value in a message
std::string shortened(std::string text) {
  if (text.size() <= kShown) return text;
  size_t end = kShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // whole characters
  return text.substr(0, end) + "...";
}

// Where on the parser's way a stream is. A depth is the number of lists and objects that are open.
class StreamPlace {
 public:
  explicit StreamPlace(std::span<const JsonStream> streams) : streams_(streams) {}

  // Whether a value that is read at this depth is the stream's.
  bool here(size_t depth) const { return stream_ != nullptr && depth == depth_; }

  void read_name(std::string& name, size_t depth) {
    if (streams_.empty()) return;
    if (here(depth)) {
      value_name_ = std::move(name);
    } else if (stream_ == nullptr) {
      name_ = name;
    }
  }

  // A list or object of `kind`, `depth` with it.
  void open(nlohmann::json::value_t kind, size_t depth) {
    if (streams_.empty() || stream_ != nullptr) return;
    if (depth > 1) names_.push_back(std::exchange(name_, ""));  // in a list there is none
    for (const JsonStream& stream : streams_) {
      if (stream.kind != kind || stream.names != names_) continue;
      stream_ = &stream;
      depth_ = depth;
      value_name_.clear();
    }
  }
  void close(size_t depth) {
    if (here(depth)) stream_ = nullptr;
    if (stream_ == nullptr && !names_.empty()) names_.pop_back();
  }

  void give(nlohmann::json& value) { stream_->each(value_name_, value); }

 private:
  std::span<const JsonStream> streams_;
  const JsonStream* stream_ = nullptr;  // the one that is open, at depth_
  size_t depth_ = 0;
  std::vector<std::string> names_;  // on the way to what is open, a stream at most
  std::string name_, value_name_;   // read last: outside of a stream, and of a stream's value
};

// Builds the value from the parser's events, so that each limit is checked before the value is made. nlohmann's own builder
// finds a name that is given twice too late: the first value is gone by then.
template <typename Json>
class Builder : public nlohmann::json_sax<Json> {
 public:
  using typename nlohmann::json_sax<Json>::number_integer_t;
  using typename nlohmann::json_sax<Json>::number_unsigned_t;
  using typename nlohmann::json_sax<Json>::number_float_t;
  using typename nlohmann::json_sax<Json>::string_t;
  using typename nlohmann::json_sax<Json>::binary_t;

  Builder(const std::filesystem::path& path, int64_t offset, std::span<const JsonStream> streams)
      : path_(path), offset_(offset), stream_(streams) {}
  Json take() { return std::move(root_); }

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& value) override { return add(std::move(value)); }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    auto& object = *stack_.back()->template get_ptr<typename Json::object_t*>();
    stream_.read_name(name, stack_.size());
    if (stream_.here(stack_.size())) return true;
    if constexpr (std::is_same_v<Json, nlohmann::ordered_json>) {
      if (static_cast<int64_t>(object.size()) >= kJsonMaxOrderedNames) {
        refuse(fmt::format("its JSON has an object of more than {} names", kJsonMaxOrderedNames));
      }
    }
    const auto [at, is_new] = object.emplace(name, nullptr);
    if (!is_new) refuse(fmt::format("its JSON gives '{}' twice in one object", shortened(name)));
    place_ = &at->second;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    const auto at = position > 0 ? static_cast<int64_t>(position) - 1 : 0;
    throw FormatError(fmt::format("it is not JSON: {}", shortened(cause_of(error.what()))), path_.string(), offset_ + at);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { throw FormatError(what, path_.string(), offset_); }

  // Where the value goes: the whole, the member whose name was read, or the end of the list.
  template <typename Value>
  Json* put(Value&& value) {
    if (++values_ > kJsonMaxValues) refuse(fmt::format("its JSON has more than {} values", kJsonMaxValues));
    if (stack_.empty()) {
      root_ = std::forward<Value>(value);
      return &root_;
    }
    if (stream_.here(stack_.size())) {
      streamed_ = std::forward<Value>(value);
      return &streamed_;
    }
    if (stack_.back()->is_array()) {
      stack_.back()->push_back(std::forward<Value>(value));
      return &stack_.back()->back();
    }
    *place_ = std::forward<Value>(value);
    return place_;
  }
  template <typename Value>
  bool add(Value&& value) {
    put(std::forward<Value>(value));
    give_away();
    return true;
  }
  // Nothing is added to a list or object while one inside it is open, so that its place stays.
  bool open(Json&& value) {
    if (stack_.size() >= static_cast<size_t>(kJsonMaxDepth)) refuse(fmt::format("its JSON is nested deeper than {} levels", kJsonMaxDepth));
    stack_.push_back(put(std::move(value)));
    stream_.open(stack_.back()->type(), stack_.size());
    return true;
  }
  bool close() {
    stream_.close(stack_.size());
    stack_.pop_back();
    give_away();
    return true;
  }
  // A value of a stream that is whole. Only nlohmann::json is streamed.
  void give_away() {
    if constexpr (std::is_same_v<Json, nlohmann::json>) {
      if (stream_.here(stack_.size())) stream_.give(streamed_);
    }
  }

  const std::filesystem::path& path_;
  int64_t offset_;
  Json root_;
  std::vector<Json*> stack_;  // the lists and objects that are open
  Json* place_ = nullptr;     // of the member whose name was read last
  StreamPlace stream_;
  Json streamed_;             // the stream's value that is being read
  int64_t values_ = 0;
};

template <typename Json>
Json parse(std::string_view text, const std::filesystem::path& path, int64_t offset, std::span<const JsonStream> streams = {}) {
  Builder<Json> builder(path, offset, streams);
  Json::sax_parse(text, &builder);  // errors come by exception
  return builder.take();
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::filesystem::path& path, int64_t offset) {
  return parse<nlohmann::json>(text, path, offset);
}

nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::filesystem::path& path, int64_t offset) {
  return parse<nlohmann::ordered_json>(text, path, offset);
}

std::string read_json_text(const std::filesystem::path& path, int64_t max_bytes) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (!error && size > static_cast<uintmax_t>(max_bytes)) {
    throw FormatError(fmt::format("it has {} bytes, more than the {} that such a JSON file may have", size, max_bytes), path.string());
  }
  return read_text(path);
}

nlohmann::json read_json_object(const std::filesystem::path& path, int64_t max_bytes, std::span<const JsonStream> streams) {
  nlohmann::json json = parse<nlohmann::json>(read_json_text(path, max_bytes), path, 0, streams);
  if (!json.is_object()) throw FormatError("it must hold one JSON object", path.string(), 0);
  return json;
}

std::string brief(const nlohmann::json& value) { return shortened(value.dump()); }
std::string brief(const nlohmann::ordered_json& value) { return shortened(value.dump()); }

}  // namespace nibble::schema
