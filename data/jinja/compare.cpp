#include "data/jinja/compare.h"

#include <fmt/core.h>

#include <algorithm>

#include "data/jinja/search.h"

namespace nibble::data::jinja {
namespace {

// A number wide enough that 64-bit integers and doubles compare by value.
std::optional<long double> as_number(const Value& value) {
  if (const double* d = value.get<double>()) return *d;
  if (const auto i = as_integer(value)) return static_cast<long double>(*i);
  return std::nullopt;
}

bool equal_sequences(const Sequence& a, const Sequence& b, Meter& meter) {
  if (a.kind != b.kind || a.kind == SequenceKind::kGenerator) return &a == &b;
  if (a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(a.items[i], b.items[i], meter)) return false;
  }
  return true;
}

bool equal_dicts(const Dict& a, const Dict& b, Meter& meter) {
  if (a.items().size() != b.items().size()) return false;
  for (const auto& [key, value] : a.items()) {
    const Value* other = b.find(key, meter);
    if (!other || !equal(value, *other, meter)) return false;
  }
  return true;
}

[[noreturn]] void no_order(const Value& left, const Value& right) {
  require_defined(left);
  require_defined(right);
  throw Failure(fmt::format("values of the types '{}' and '{}' have no order", type_name(left), type_name(right)));
}

}  // namespace

bool equal(const Value& left, const Value& right, Meter& meter) {
  meter.step();
  if (const auto a = as_number(left)) {
    const auto b = as_number(right);
    return b && *a == *b;
  }
  if (left.variant().index() != right.variant().index()) return false;
  if (left.is_undefined() || left.is_none()) return true;
  if (const Text* a = left.text()) {
    const std::string_view b = right.text()->bytes();
    if (a->bytes().size() == b.size()) meter.scan(b.size());
    return a->bytes() == b;
  }
  if (const Sequence* a = left.sequence()) return a == right.sequence() || equal_sequences(*a, *right.sequence(), meter);
  if (const Dict* a = left.dict()) return a == right.dict() || equal_dicts(*a, *right.dict(), meter);
  if (const auto* a = left.get<Namespace*>()) return *a == *right.get<Namespace*>();
  if (const auto* a = left.get<std::shared_ptr<LoopState>>()) return *a == *right.get<std::shared_ptr<LoopState>>();
  if (const auto* a = left.get<const MacroValue*>()) return *a == *right.get<const MacroValue*>();
  if (const auto* a = left.get<Global>()) return *a == *right.get<Global>();
  return false;  // methods: bound anew each time
}

bool less(const Value& left, const Value& right, Meter& meter) {
  meter.step();
  const auto a = as_number(left), b = as_number(right);
  if (a && b) return *a < *b;
  if (left.text() && right.text()) {
    meter.scan(std::min(left.text()->bytes().size(), right.text()->bytes().size()));
    return left.text()->bytes() < right.text()->bytes();  // bytes of UTF-8 sort as code points do
  }
  const Sequence* s = left.sequence();
  const Sequence* t = right.sequence();
  const bool ordered = s && t && s->kind == t->kind && (s->kind == SequenceKind::kList || s->kind == SequenceKind::kTuple);
  if (!ordered) no_order(left, right);
  const size_t count = std::min(s->items.size(), t->items.size());
  for (size_t i = 0; i < count; ++i) {
    if (!equal(s->items[i], t->items[i], meter)) return less(s->items[i], t->items[i], meter);
  }
  return s->items.size() < t->items.size();
}

bool less_or_equal(const Value& left, const Value& right, Meter& meter) {
  return less(left, right, meter) || equal(left, right, meter);
}

bool contains(const Value& container, const Value& item, Meter& meter) {
  if (const Text* text = container.text()) {
    const Text* part = item.text();
    if (!part) throw Failure(fmt::format("only a string can be in a string, not a value of type '{}'", type_name(item)));
    return find_text(text->bytes(), part->bytes(), 0, meter) != std::string_view::npos;
  }
  if (const Dict* dict = container.dict()) return dict->find(item, meter) != nullptr;
  if (const Sequence* s = container.sequence()) {
    // A generator is used up to the element that is found.
    for (size_t i = s->next; i < s->items.size(); ++i) {
      if (s->kind == SequenceKind::kGenerator) s->next = i + 1;
      if (equal(s->items[i], item, meter)) return true;
    }
    return false;
  }
  if (container.is_undefined()) return false;
  throw Failure(fmt::format("a value of type '{}' cannot be searched with 'in'", type_name(container)));
}

void sort_by_key(std::vector<Keyed>& items, bool reverse, Meter& meter) {
  // Python's reversed order is stable too: equal elements keep their order.
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? less(b.key, a.key, meter) : less(a.key, b.key, meter);
  });
}

}  // namespace nibble::data::jinja
