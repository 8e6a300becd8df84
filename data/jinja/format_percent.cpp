// format_percent of data/jinja/operators.h: Python's printf-style formatting, the conversions that texts need.
#include <fmt/core.h>

#include <cmath>

#include "data/jinja/operators.h"
#include "data/jinja/python_text.h"
#include "data/jinja/search.h"
#include "data/jinja/subscript.h"

namespace nibble::data::jinja {
namespace {

constexpr int64_t kMostDigits = 100;  // of precision and of numbers' width

struct Conversion {
  std::optional<std::string> key;  // %(key)s
  bool left = false, zero = false, plus = false, space = false;
  int64_t width = 0;
  std::optional<int64_t> precision;
  char kind = 's';
};

class PercentFormat {
 public:
  PercentFormat(std::string_view format, const Value& values, Environment& environment)
      : format_(format), values_(values), environment_(environment) {}
  Value run(const Text& source);

 private:
  Conversion read();
  int64_t read_number();
  Value next_value(const Conversion& conversion);
  std::string number(const Conversion& conversion, const Value& value) const;

  std::string_view format_;
  const Value& values_;
  Environment& environment_;
  size_t at_ = 0;
  size_t used_ = 0;  // values
};

int64_t PercentFormat::read_number() {
  int64_t number = 0;
  for (; at_ < format_.size() && format_[at_] >= '0' && format_[at_] <= '9'; ++at_) {
    number = std::min<int64_t>(number * 10 + (format_[at_] - '0'), environment_.meter.limits().output_bytes);
  }
  return number;
}

Conversion PercentFormat::read() {
  Conversion out;
  if (at_ < format_.size() && format_[at_] == '(') {
    const size_t end = format_.find(')', at_);
    if (end == std::string_view::npos) throw Failure("'%(' in a format is not closed");
    out.key = format_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
  }
  for (; at_ < format_.size(); ++at_) {
    const char c = format_[at_];
    if (c == '-') out.left = true;
    else if (c == '0') out.zero = true;
    else if (c == '+') out.plus = true;
    else if (c == ' ') out.space = true;
    else break;
  }
  out.width = read_number();
  if (at_ < format_.size() && format_[at_] == '.') {
    ++at_;
    out.precision = read_number();
  }
  if (at_ >= format_.size()) throw Failure("the format ends inside a conversion");
  out.kind = format_[at_++];
  return out;
}

Value PercentFormat::next_value(const Conversion& conversion) {
  if (conversion.key) {
    if (!values_.dict()) throw Failure("a format with names needs a dictionary");
    const Value* value = values_.dict()->find(*conversion.key);
    if (!value) throw Failure(fmt::format("the format names '{}', which the dictionary has not", *conversion.key));
    return *value;
  }
  const Sequence* tuple = values_.sequence();
  if (!tuple || tuple->kind != SequenceKind::kTuple) {
    if (used_++ > 0) throw Failure("the format needs more values than it is given");
    return values_;
  }
  if (used_ >= tuple->items.size()) throw Failure("the format needs more values than it is given");
  return tuple->items[used_++];
}

std::string PercentFormat::number(const Conversion& conversion, const Value& value) const {
  require_defined(value);
  if (conversion.width > kMostDigits || conversion.precision.value_or(0) > kMostDigits) throw Failure("the format asks for too many digits");
  const auto width = static_cast<int>(conversion.width);
  const std::string flags = std::string(conversion.left ? "-" : "") + (conversion.zero ? "0" : "") + (conversion.plus ? "+" : "") +
                            (conversion.space ? " " : "");
  const auto integer = as_integer(value);
  const double* real = value.get<double>();
  if (!integer && !real) throw Failure(fmt::format("%{} formats numbers, not values of type '{}'", conversion.kind, type_name(value)));
  char buffer[512];
  int size = 0;
  if (conversion.kind == 'f') {
    size = std::snprintf(buffer, sizeof buffer, ("%" + flags + "*.*f").c_str(), width,
                         static_cast<int>(conversion.precision.value_or(6)), real ? *real : static_cast<double>(*integer));
  } else {
    if (real && !(std::fabs(*real) < 9.2e18)) throw Failure("the number is too large to be formatted as an integer");
    const int64_t whole = integer ? *integer : static_cast<int64_t>(*real);
    const std::string digits = conversion.precision ? "*." + std::to_string(*conversion.precision) : "*";
    size = std::snprintf(buffer, sizeof buffer, ("%" + flags + digits + "lld").c_str(), width, static_cast<long long>(whole));
  }
  if (size < 0 || size >= static_cast<int>(sizeof buffer)) throw Failure("the number is too long to be formatted");
  return std::string(buffer, static_cast<size_t>(size));
}

Value PercentFormat::run(const Text& source) {
  Meter& meter = environment_.meter;
  TextBuilder out(meter);
  while (true) {
    const size_t percent = std::min(format_.find('%', at_), format_.size());
    out.append(source.part(at_, percent));
    if (percent == format_.size()) break;
    at_ = percent + 1;
    const Conversion conversion = read();
    meter.step();
    switch (conversion.kind) {
      case '%': out.append("%"); break;
      case 'd': case 'i': case 'u': case 'f': out.append(number(conversion, next_value(conversion))); break;
      case 's': case 'r': {
        const Value value = next_value(conversion);
        Text text = conversion.kind == 's' ? to_text(value, meter) : to_repr(value, meter);
        if (conversion.precision) text = text.part(0, offset_of(text.bytes(), *conversion.precision));
        const int64_t padding = std::max<int64_t>(0, conversion.width - length_of(text.bytes()));
        if (!conversion.left) out.append(static_cast<size_t>(padding), ' ');
        out.append(text);
        if (conversion.left) out.append(static_cast<size_t>(padding), ' ');
        break;
      }
      default: throw Failure(fmt::format("the conversion %{} is not supported in a format", conversion.kind));
    }
  }
  const Sequence* tuple = values_.sequence();
  const bool is_tuple = tuple && tuple->kind == SequenceKind::kTuple;
  const bool left_over = is_tuple ? used_ < tuple->items.size() : used_ == 0 && !values_.dict() && !tuple;
  if (left_over) throw Failure("the format is given more values than it needs");
  return Value(out.take());
}

}  // namespace

Value format_percent(const Text& format, const Value& values, Environment& environment) {
  return PercentFormat(format.bytes(), values, environment).run(format);
}

}  // namespace nibble::data::jinja
