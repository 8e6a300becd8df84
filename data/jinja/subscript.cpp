#include "data/jinja/subscript.h"

#include <fmt/core.h>

#include <limits>
#include <optional>

#include "data/jinja/loop_state.h"
#include "data/jinja/methods.h"
#include "data/jinja/search.h"

namespace nibble::data::jinja {
namespace {

// A method as a value; the sandbox's answer where it would change its object.
Value bound(const Value& object, const Method& method) {
  if (method.kind == Method::Kind::kUnsafe) return Undefined{method.name, type_name(object), Undefined::Reason::kUnsafe};
  return std::shared_ptr<const BoundMethod>(std::make_shared<BoundMethod>(BoundMethod{object, &method}));
}

bool is_internal(std::string_view name) { return name.size() > 4 && name.starts_with("__") && name.ends_with("__"); }

std::optional<Value> element_at(const Value& object, int64_t index, Meter& meter) {
  if (const Text* text = object.text()) {
    meter.scan(text->bytes().size());
    if (index < 0) index += length_of(text->bytes());
    const size_t begin = index < 0 ? text->bytes().size() : offset_of(text->bytes(), index);
    if (begin == text->bytes().size()) return std::nullopt;
    return Value(text->part(begin, begin + offset_of(text->bytes().substr(begin), 1)));
  }
  const Sequence* sequence = object.sequence();
  const bool by_index = sequence && (sequence->kind == SequenceKind::kList || sequence->kind == SequenceKind::kTuple ||
                                     sequence->kind == SequenceKind::kRange);
  if (!by_index) return std::nullopt;
  const auto size = static_cast<int64_t>(sequence->items.size());
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return sequence->items[static_cast<size_t>(index)];
}

// One bound of a slice of `size` elements, as Python clamps it.
int64_t bound_of(const Value& value, int64_t otherwise, int64_t size, bool down) {
  if (value.is_none()) return otherwise;
  const auto given = as_integer(value);
  if (!given) throw Failure(fmt::format("the bounds of a slice are integers or left out, not of type '{}'", type_name(value)));
  const int64_t low = down ? -1 : 0, high = down ? size - 1 : size;
  const int64_t at = *given < 0 ? (*given < -size ? low : *given + size) : *given;
  return std::max(low, std::min(high, at));
}

Value text_slice(const Text& text, int64_t start, int64_t stop, int64_t step, Meter& meter) {
  const std::string_view bytes = text.bytes();
  if (step == 1) {
    const size_t begin = offset_of(bytes, start);
    if (stop <= start) return Value(text.part(begin, begin));
    return Value(text.part(begin, begin + offset_of(bytes.substr(begin), stop - start)));
  }
  std::vector<size_t> offsets;  // of each character, and the end
  meter.create(bytes.size() * sizeof(size_t));
  for (size_t at = 0; at < bytes.size(); at += offset_of(bytes.substr(at), 1)) offsets.push_back(at);
  offsets.push_back(bytes.size());
  TextBuilder out(meter);
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    out.append(text.part(offsets[static_cast<size_t>(i)], offsets[static_cast<size_t>(i) + 1]));
  }
  return Value(out.take());
}

}  // namespace

Value attribute_of(Environment& environment, const Value& object, std::string_view name) {
  environment.meter.step();
  if (const Dict* dict = object.dict()) {
    if (const Method* method = find_method(object, name)) return bound(object, *method);
    if (const Value* item = dict->find(name)) return *item;
    return Undefined{name, "dict", is_internal(name) ? Undefined::Reason::kUnsafe : Undefined::Reason::kAttribute};
  }
  require_defined(object);
  if (const auto* ns = object.get<Namespace*>()) {
    if (const Value* value = (*ns)->find(name)) return *value;
    return Undefined{name, "namespace", Undefined::Reason::kAttribute};
  }
  if (const auto* loop = object.get<std::shared_ptr<LoopState>>()) return loop_attribute(*loop, name);
  if (const Method* method = find_method(object, name)) return bound(object, *method);
  return Undefined{name, type_name(object), is_internal(name) ? Undefined::Reason::kUnsafe : Undefined::Reason::kAttribute};
}

Value item_of(Environment& environment, const Value& object, const Value& key) {
  environment.meter.step();
  require_defined(object);
  const Text* name = key.text();
  if (const Dict* dict = object.dict()) {
    if (name) {
      if (const Value* item = dict->find(name->bytes())) return *item;
      if (const Method* method = find_method(object, name->bytes())) return bound(object, *method);
    } else if (!key.dict() && !key.sequence()) {
      if (const Value* item = dict->find(key, environment.meter)) return *item;
    } else if (key.sequence() && key.sequence()->kind == SequenceKind::kTuple) {
      if (const Value* item = dict->find(key, environment.meter)) return *item;
    }
  } else if (const auto index = as_integer(key)) {
    if (auto element = element_at(object, *index, environment.meter)) return *std::move(element);
  } else if (name) {
    // What has no items has attributes: namespaces, the loop, methods.
    Value attribute = attribute_of(environment, object, name->bytes());
    if (!attribute.is_undefined()) return attribute;
  }
  return Undefined{{}, type_name(object), Undefined::Reason::kElement};
}

Value slice_of(Environment& environment, const Value& object, const Value& start, const Value& stop, const Value& step) {
  environment.meter.step();
  require_defined(object);
  for (const Value* bound : {&start, &stop, &step}) require_defined(*bound);
  const Text* text = object.text();
  const Sequence* sequence = object.sequence();
  const bool sliceable = text || (sequence && (sequence->kind == SequenceKind::kList || sequence->kind == SequenceKind::kTuple ||
                                               sequence->kind == SequenceKind::kRange));
  if (!sliceable) throw Failure(fmt::format("a value of type '{}' has no slices", type_name(object)));
  if (text) environment.meter.scan(text->bytes().size());
  const int64_t size = text ? length_of(text->bytes()) : static_cast<int64_t>(sequence->items.size());
  int64_t by = bound_of(step, 1, std::numeric_limits<int64_t>::max(), false);
  if (const auto given = as_integer(step)) by = *given;
  if (by == 0) throw Failure("the step of a slice is 0");
  by = std::max(-size - 1, std::min(size + 1, by));  // farther is the same, and cannot overflow
  const int64_t first = bound_of(start, by < 0 ? size - 1 : 0, size, by < 0);
  const int64_t last = bound_of(stop, by < 0 ? -1 : size, size, by < 0);
  if (text) return text_slice(*text, first, last, by, environment.meter);
  std::vector<Value> items;
  for (int64_t i = first; by > 0 ? i < last : i > last; i += by) items.push_back(sequence->items[static_cast<size_t>(i)]);
  if (sequence->kind != SequenceKind::kRange) return make_sequence(sequence->kind, std::move(items), environment.meter);
  auto range = std::make_shared<Sequence>();
  environment.meter.create(items.size() * sizeof(Value));
  range->kind = SequenceKind::kRange;
  range->items = std::move(items);
  range->start = sequence->start + first * sequence->step;
  range->stop = sequence->start + last * sequence->step;
  range->step = sequence->step * by;
  return Value(std::shared_ptr<const Sequence>(std::move(range)));
}

}  // namespace nibble::data::jinja
