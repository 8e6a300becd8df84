// Filters that take lists, dictionaries and other rows of values.
#include <fmt/core.h>

#include <algorithm>

#include "data/jinja/characters.h"
#include "data/jinja/compare.h"
#include "data/jinja/filters.h"
#include "data/jinja/loop_state.h"
#include "data/jinja/operators.h"
#include "data/jinja/python_text.h"
#include "data/jinja/search.h"

namespace nibble::data::jinja {
namespace {

// What sorting and comparing look at: an attribute where one is named, without case where that is asked.
Value key_of(Environment& environment, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = attribute ? attribute_path(environment, item, *attribute) : item;
  if (case_sensitive || !key.text()) return key;
  environment.meter.scan(16 * key.text()->bytes().size());
  return Value(made_text(to_lower(key.text()->bytes()), environment.meter));
}

Value filter_length(Environment& environment, const Value& operand, const Arguments& arguments) {
  bind_none("length", arguments);
  if (const Text* text = operand.text()) {
    environment.meter.scan(text->bytes().size());
    return Value(length_of(text->bytes()));
  }
  if (const Dict* dict = operand.dict()) return Value(static_cast<int64_t>(dict->items().size()));
  if (operand.is_undefined()) return Value(int64_t{0});
  if (const auto* loop = operand.get<std::shared_ptr<LoopState>>()) return loop_attribute(*loop, "length");
  const Sequence* sequence = operand.sequence();
  if (!sequence || sequence->kind == SequenceKind::kGenerator) {
    throw Failure(fmt::format("a value of type '{}' has no length{}", type_name(operand), sequence ? "; add |list" : ""));
  }
  return Value(static_cast<int64_t>(sequence->items.size()));
}

Value filter_list(Environment& environment, const Value& operand, const Arguments& arguments) {
  bind_none("list", arguments);
  return make_list(elements(operand, environment.meter), environment.meter);
}

Value filter_first(Environment& environment, const Value& operand, const Arguments& arguments) {
  bind_none("first", arguments);
  if (const Sequence* s = operand.sequence()) {
    if (s->next < s->items.size()) return s->kind == SequenceKind::kGenerator ? s->items[s->next++] : s->items[0];
  } else if (std::vector<Value> all = elements(operand, environment.meter); !all.empty()) {
    return std::move(all[0]);
  }
  return Undefined{"first of an empty list", "", Undefined::Reason::kOther};
}

Value filter_last(Environment& environment, const Value& operand, const Arguments& arguments) {
  bind_none("last", arguments);
  if (const Sequence* s = operand.sequence()) {
    if (s->kind == SequenceKind::kGenerator) throw Failure("last cannot go through a generator backwards; add |list");
    if (!s->items.empty()) return s->items.back();
  } else if (std::vector<Value> all = elements(operand, environment.meter); !all.empty()) {
    return std::move(all.back());
  }
  return Undefined{"last of an empty list", "", Undefined::Reason::kOther};
}

Value filter_join(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [d, attribute] = bind<2>("join", arguments, {"d", "attribute"}, 0);
  const Text separator = d ? to_text(*d, environment.meter) : Text();
  TextBuilder out(environment.meter);
  bool first = true;
  for (const Value& item : elements(operand, environment.meter)) {
    environment.meter.step();
    if (!std::exchange(first, false) && d) out.append(separator);
    out.append(to_text(attribute ? attribute_path(environment, item, *attribute) : item, environment.meter));
  }
  return Value(out.take());
}

Value filter_reverse(Environment& environment, const Value& operand, const Arguments& arguments) {
  bind_none("reverse", arguments);
  std::vector<Value> items = elements(operand, environment.meter);
  std::reverse(items.begin(), items.end());
  if (!operand.text()) return make_sequence(SequenceKind::kGenerator, std::move(items), environment.meter);
  TextBuilder out(environment.meter);
  for (const Value& item : items) out.append(*item.text());
  return Value(out.take());
}

Value filter_items(Environment& environment, const Value& operand, const Arguments& arguments) {
  bind_none("items", arguments);
  std::vector<Value> items;
  if (const Dict* dict = operand.dict()) {
    environment.meter.create(dict->items().size() * sizeof(Value));
    for (const auto& [key, value] : dict->items()) items.push_back(make_sequence(SequenceKind::kTuple, {key, value}, environment.meter));
  } else if (!operand.is_undefined()) {
    throw Failure(fmt::format("items needs a dictionary, not a value of type '{}'", type_name(operand)));
  }
  return make_sequence(SequenceKind::kGenerator, std::move(items), environment.meter);
}

std::vector<Value> values_of(std::vector<Keyed> keyed) {
  std::vector<Value> out;
  for (Keyed& item : keyed) out.push_back(std::move(item.value));
  return out;
}

Value filter_dictsort(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [case_sensitive, by, reverse] = bind<3>("dictsort", arguments, {"case_sensitive", "by", "reverse"}, 0);
  require_defined(operand);
  const Dict* dict = operand.dict();
  if (!dict) throw Failure(fmt::format("dictsort needs a dictionary, not a value of type '{}'", type_name(operand)));
  const std::string_view what = by ? text_argument("dictsort", by).bytes() : "key";
  if (what != "key" && what != "value") throw Failure("dictsort sorts by 'key' or by 'value'");
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : dict->items()) {
    keyed.push_back({key_of(environment, what == "key" ? key : value, nullptr, flag_argument(case_sensitive, false)),
                     make_sequence(SequenceKind::kTuple, {key, value}, environment.meter)});
  }
  sort_by_key(keyed, flag_argument(reverse, false), environment.meter);
  return make_list(values_of(std::move(keyed)), environment.meter);
}

// The keys of several attributes with commas between, "age,name", as one list.
Value sort_key(Environment& environment, const Value& item, const Value* attribute, bool case_sensitive) {
  const Text* names = attribute ? attribute->text() : nullptr;
  if (!names || names->bytes().find(',') == std::string_view::npos) return key_of(environment, item, attribute, case_sensitive);
  std::vector<Value> keys;
  for (size_t begin = 0; begin <= names->bytes().size();) {
    const size_t end = std::min(names->bytes().find(',', begin), names->bytes().size());
    const Value name(names->part(begin, end));
    keys.push_back(key_of(environment, item, &name, case_sensitive));
    begin = end + 1;
  }
  return make_list(std::move(keys), environment.meter);
}

Value filter_sort(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [reverse, case_sensitive, attribute] = bind<3>("sort", arguments, {"reverse", "case_sensitive", "attribute"}, 0);
  std::vector<Keyed> keyed;
  for (const Value& item : elements(operand, environment.meter)) {
    keyed.push_back({sort_key(environment, item, attribute, flag_argument(case_sensitive, false)), item});
  }
  sort_by_key(keyed, flag_argument(reverse, false), environment.meter);
  return make_list(values_of(std::move(keyed)), environment.meter);
}

Value filter_unique(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [case_sensitive, attribute] = bind<2>("unique", arguments, {"case_sensitive", "attribute"}, 0);
  std::vector<Value> items;
  Dict seen;
  for (Value& item : elements(operand, environment.meter)) {
    const Value key = key_of(environment, item, attribute, flag_argument(case_sensitive, false));
    environment.meter.create(sizeof(Value));
    const size_t before = seen.items().size();
    seen.set(key, Value(), environment.meter);
    if (seen.items().size() > before) items.push_back(std::move(item));
  }
  return make_sequence(SequenceKind::kGenerator, std::move(items), environment.meter);
}

Value extreme(std::string_view name, Environment& environment, const Value& operand, const Arguments& arguments, bool largest) {
  const auto [case_sensitive, attribute] = bind<2>(name, arguments, {"case_sensitive", "attribute"}, 0);
  const std::vector<Value> items = elements(operand, environment.meter);
  if (items.empty()) return Undefined{"the extreme of an empty list", "", Undefined::Reason::kOther};
  size_t best = 0;
  Value best_key = key_of(environment, items[0], attribute, flag_argument(case_sensitive, false));
  for (size_t i = 1; i < items.size(); ++i) {
    Value key = key_of(environment, items[i], attribute, flag_argument(case_sensitive, false));
    if (!(largest ? less(best_key, key, environment.meter) : less(key, best_key, environment.meter))) continue;
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}

Value filter_min(Environment& e, const Value& operand, const Arguments& a) { return extreme("min", e, operand, a, false); }
Value filter_max(Environment& e, const Value& operand, const Arguments& a) { return extreme("max", e, operand, a, true); }

Value filter_sum(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [attribute, start] = bind<2>("sum", arguments, {"attribute", "start"}, 0);
  Value total = start ? *start : Value(int64_t{0});
  if (total.text()) throw Failure("sum adds no strings; use join");
  for (const Value& item : elements(operand, environment.meter)) {
    total = calculate(Arithmetic::kAdd, total, attribute ? attribute_path(environment, item, *attribute) : item, environment);
  }
  return total;
}

const Filter kFilters[] = {
    {"length", filter_length}, {"count", filter_length}, {"list", filter_list}, {"first", filter_first}, {"last", filter_last},
    {"join", filter_join}, {"reverse", filter_reverse}, {"items", filter_items}, {"dictsort", filter_dictsort}, {"sort", filter_sort},
    {"unique", filter_unique}, {"min", filter_min}, {"max", filter_max}, {"sum", filter_sum},
};

}  // namespace

FilterTable sequence_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace nibble::data::jinja
