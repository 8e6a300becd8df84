#include "data/jinja/methods.h"

#include <fmt/core.h>

#include <algorithm>

#include "data/jinja/compare.h"

namespace nibble::data::jinja {
namespace {

constexpr auto kUnsafe = Method::Kind::kUnsafe;
constexpr auto kUnsupported = Method::Kind::kUnsupported;

Value view(SequenceKind kind, const Dict& dict, Meter& meter) {
  std::vector<Value> items;
  meter.create(dict.items().size() * sizeof(Value));
  for (const auto& [key, value] : dict.items()) {
    if (kind == SequenceKind::kKeys) items.push_back(key);
    else if (kind == SequenceKind::kValues) items.push_back(value);
    else items.push_back(make_sequence(SequenceKind::kTuple, {key, value}, meter));
  }
  return make_sequence(kind, std::move(items), meter);
}

Value dict_keys(Environment& environment, const Value& self, const Arguments& arguments) {
  bind_none("keys()", arguments);
  return view(SequenceKind::kKeys, *self.dict(), environment.meter);
}

Value dict_values(Environment& environment, const Value& self, const Arguments& arguments) {
  bind_none("values()", arguments);
  return view(SequenceKind::kValues, *self.dict(), environment.meter);
}

Value dict_items(Environment& environment, const Value& self, const Arguments& arguments) {
  bind_none("items()", arguments);
  return view(SequenceKind::kItems, *self.dict(), environment.meter);
}

Value dict_get(Environment& environment, const Value& self, const Arguments& arguments) {
  // dict.get takes no names, in Python and so here.
  if (!arguments.keywords.empty()) throw Failure("get() takes no arguments with names");
  const auto [key, otherwise] = bind<2>("get()", arguments, {"key", "default"}, 1);
  if (const Value* value = self.dict()->find(*key, environment.meter)) return *value;
  return otherwise ? *otherwise : Value();
}

// Values never change once made, so that a copy is the same.
Value copied(Environment&, const Value& self, const Arguments& arguments) {
  bind_none("copy()", arguments);
  return self;
}

Value sequence_count(Environment& environment, const Value& self, const Arguments& arguments) {
  const auto [wanted] = bind<1>("count()", arguments, {"value"}, 1);
  int64_t count = 0;
  for (const Value& item : self.sequence()->items) count += equal(item, *wanted, environment.meter);
  return Value(count);
}

Value sequence_index(Environment& environment, const Value& self, const Arguments& arguments) {
  const auto [wanted] = bind<1>("index()", arguments, {"value"}, 1);
  const std::vector<Value>& items = self.sequence()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (equal(items[i], *wanted, environment.meter)) return Value(static_cast<int64_t>(i));
  }
  throw Failure("index(): the value is not in the list");
}

const Method kDictMethods[] = {
    {"clear", kUnsafe}, {"copy", Method::Kind::kCallable, copied}, {"fromkeys", kUnsupported},
    {"get", Method::Kind::kCallable, dict_get}, {"items", Method::Kind::kCallable, dict_items},
    {"keys", Method::Kind::kCallable, dict_keys}, {"pop", kUnsafe}, {"popitem", kUnsafe}, {"setdefault", kUnsafe},
    {"update", kUnsafe}, {"values", Method::Kind::kCallable, dict_values},
};

const Method kListMethods[] = {
    {"append", kUnsafe}, {"clear", kUnsafe}, {"copy", Method::Kind::kCallable, copied},
    {"count", Method::Kind::kCallable, sequence_count}, {"extend", kUnsafe}, {"index", Method::Kind::kCallable, sequence_index},
    {"insert", kUnsafe}, {"pop", kUnsafe}, {"remove", kUnsafe}, {"reverse", kUnsafe}, {"sort", kUnsafe},
};

const Method kTupleMethods[] = {
    {"count", Method::Kind::kCallable, sequence_count}, {"index", Method::Kind::kCallable, sequence_index},
};

const Method* find_in(const Method* begin, const Method* end, std::string_view name) {
  const Method* at = std::lower_bound(begin, end, name, [](const Method& m, std::string_view wanted) { return m.name < wanted; });
  return at != end && at->name == name ? at : nullptr;
}

}  // namespace

const Method* find_string_method(std::string_view name) {
  for (const MethodTable& table : {string_splitting_methods(), string_searching_methods(), string_writing_methods(), string_class_methods()}) {
    if (const Method* method = find_in(table.begin, table.end, name)) return method;
  }
  return nullptr;
}

const Method* find_method(const Value& object, std::string_view name) {
  if (object.text()) return find_string_method(name);
  if (object.dict()) return find_in(std::begin(kDictMethods), std::end(kDictMethods), name);
  const Sequence* sequence = object.sequence();
  if (!sequence) return nullptr;
  if (sequence->kind == SequenceKind::kList) return find_in(std::begin(kListMethods), std::end(kListMethods), name);
  const bool counted = sequence->kind == SequenceKind::kTuple || sequence->kind == SequenceKind::kRange;
  return counted ? find_in(std::begin(kTupleMethods), std::end(kTupleMethods), name) : nullptr;
}

Value call_method(Environment& environment, const Method& method, const Value& self, const Arguments& arguments) {
  environment.meter.step();
  switch (method.kind) {
    case Method::Kind::kCallable: return method.call(environment, self, arguments);
    case Method::Kind::kUnsafe:
      throw Failure(Undefined{method.name, type_name(self), Undefined::Reason::kUnsafe}.message());
    case Method::Kind::kUnsupported:
      throw Failure(fmt::format("the method {}() of '{}' is not supported in chat templates", method.name, type_name(self)));
  }
  throw std::logic_error("unknown kind of method");
}

}  // namespace nibble::data::jinja
