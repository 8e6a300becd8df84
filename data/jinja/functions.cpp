#include "data/jinja/functions.h"

#include <fmt/core.h>

#include <algorithm>

#include "data/jinja/python_text.h"

namespace nibble::data::jinja {
namespace {

constexpr int64_t kMostInRange = 100'000;  // jinja2's sandbox has the same bound

Value make_range(Environment& environment, const Arguments& arguments) {
  if (!arguments.keywords.empty()) throw Failure("range() takes no arguments with names");
  const auto [first, second, third] = bind<3>("range()", arguments, {"start", "stop", "step"}, 1);
  auto range = std::make_shared<Sequence>();
  range->kind = SequenceKind::kRange;
  range->start = second ? integer_argument("range()", first, 0) : 0;
  range->stop = integer_argument("range()", second ? second : first, 0);
  range->step = integer_argument("range()", third, 1);
  if (range->step == 0) throw Failure("range(): the step is 0");
  const bool up = range->step > 0;
  const bool empty = up ? range->start >= range->stop : range->start <= range->stop;
  // In 128 bits: the distance of two 64-bit integers needs 65.
  __extension__ using Wide = __int128;
  const Wide distance = empty ? 0 : up ? Wide(range->stop) - range->start : Wide(range->start) - range->stop;
  const Wide step = up ? Wide(range->step) : -Wide(range->step);
  const Wide count = (distance + step - 1) / step;
  if (count > kMostInRange) throw Failure(fmt::format("range() makes at most {} numbers", kMostInRange));
  environment.meter.create(static_cast<size_t>(count) * sizeof(Value));
  for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) range->items.push_back(Value(range->start + i * range->step));
  return Value(std::shared_ptr<const Sequence>(std::move(range)));
}

// dict(mapping or pairs, name=value, ...)
Dict make_members(std::string_view name, Environment& environment, const Arguments& arguments) {
  Dict out;
  Meter& meter = environment.meter;
  if (arguments.positional.size() > 1) throw Failure(fmt::format("{} takes at most one argument without a name", name));
  if (!arguments.positional.empty()) {
    const Value& given = arguments.positional[0];
    if (const Dict* dict = given.dict()) {
      meter.create(dict->items().size() * 2 * sizeof(Value));
      out = *dict;
    } else {
      require_defined(given);
      for (const Value& item : elements(given, meter)) {
        const std::vector<Value> pair = elements(item, meter);
        if (pair.size() != 2) throw Failure(fmt::format("{} needs pairs of keys and values", name));
        meter.create(2 * sizeof(Value));
        out.set(pair[0], pair[1], meter);
      }
    }
  }
  for (const auto& [key, value] : arguments.keywords) out.set(Value(made_text(std::string(key), meter)), value, meter);
  return out;
}

Value make_namespace(Environment& environment, const Arguments& arguments) {
  const Dict members = make_members("namespace()", environment, arguments);
  environment.meter.create(sizeof(Namespace));
  Namespace& ns = environment.namespaces.emplace_back();
  for (const auto& [key, value] : members.items()) {
    if (!key.text()) throw Failure("namespace(): names are strings");
    set_attribute(environment, ns, *key.text(), value);
  }
  return Value(&ns);
}

Value raise_exception(Environment& environment, const Arguments& arguments) {
  const auto [message] = bind<1>("raise_exception()", arguments, {"message"}, 1);
  throw Failure(std::string(to_text(*message, environment.meter).bytes()));
}

Value strftime_now(Environment& environment, const Arguments& arguments) {
  const auto [given] = bind<1>("strftime_now()", arguments, {"format"}, 1);
  std::tm now{};
  if (environment.now) {
    now = *environment.now;
  } else {
    const std::time_t seconds = std::time(nullptr);
    localtime_r(&seconds, &now);
  }
  // Python answers these itself: a time of no zone has no %z and %Z. Microseconds are not told.
  std::string format;
  const std::string_view text = text_argument("strftime_now()", given).bytes();
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = text[i] == '%' && i + 1 < text.size() ? text[i + 1] : ' ';
    if (next == 'z' || next == 'Z' || next == 'f') {
      if (next == 'f') format += "000000";
      ++i;
      continue;
    }
    format += text[i];
    if (next == '%') format += text[++i];
  }
  if (format.find('\0') != std::string::npos) throw Failure("strftime_now(): the format holds a zero byte");
  format += ' ';  // so that an empty result is told from one that did not fit
  environment.meter.create(256 + 64 * format.size());
  std::string out(256 + 64 * format.size(), '\0');
  const size_t size = std::strftime(out.data(), out.size(), format.c_str(), &now);
  if (size == 0) throw Failure("strftime_now(): the result is too long");
  out.resize(size - 1);
  return Value(made_text(std::move(out), environment.meter));
}

}  // namespace

std::optional<Global> find_global(std::string_view name) {
  if (name == "range") return Global::kRange;
  if (name == "dict") return Global::kDict;
  if (name == "namespace") return Global::kNamespace;
  if (name == "raise_exception") return Global::kRaiseException;
  if (name == "strftime_now") return Global::kStrftimeNow;
  return std::nullopt;
}

Value call_global(Environment& environment, Global global, const Arguments& arguments) {
  switch (global) {
    case Global::kRange: return make_range(environment, arguments);
    case Global::kDict: return make_dict(make_members("dict()", environment, arguments), environment.meter);
    case Global::kNamespace: return make_namespace(environment, arguments);
    case Global::kRaiseException: return raise_exception(environment, arguments);
    case Global::kStrftimeNow: return strftime_now(environment, arguments);
  }
  throw std::logic_error("unknown function");
}

void set_attribute(Environment& environment, Namespace& ns, const Text& name, const Value& value) {
  if (name.bytes().starts_with('_')) throw Failure(fmt::format("the attribute '{}' of a namespace may not begin with an underscore", name.bytes()));
  environment.meter.step(static_cast<int64_t>(1 + ns.attributes.size() / 8));
  if (!ns.find(name.bytes())) environment.meter.create(sizeof(Text) + sizeof(Value));
  ns.set(name, value);
}

}  // namespace nibble::data::jinja
