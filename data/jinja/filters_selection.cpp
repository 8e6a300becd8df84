// Filters that apply a filter or test to every element: map, select, reject and their forms for attributes.
#include <fmt/core.h>

#include "data/jinja/filters.h"
#include "data/jinja/predicates.h"

namespace nibble::data::jinja {
namespace {

// The arguments behind the first `taken` ones, which the filter itself uses up.
Arguments behind(const Arguments& arguments, size_t taken) {
  Arguments out = arguments;
  out.positional.erase(out.positional.begin(), out.positional.begin() + static_cast<std::ptrdiff_t>(taken));
  return out;
}

template <typename Found>
const Found& named(std::string_view what, const Value& name, const Found* (*find)(std::string_view)) {
  const Text& text = text_argument(what, &name);
  if (const Found* found = find(text.bytes())) return *found;
  throw Failure(fmt::format("{}: '{}' is not supported or does not exist", what, text.bytes()));
}

Value filter_map(Environment& environment, const Value& operand, const Arguments& arguments) {
  std::vector<Value> out;
  // jinja2 looks at the arguments only where there is something to go through.
  if (!truthy(operand)) return make_sequence(SequenceKind::kGenerator, {}, environment.meter);
  std::vector<Value> items = elements(operand, environment.meter);
  if (arguments.positional.empty()) {
    const auto [attribute, otherwise] = bind<2>("map", arguments, {"attribute", "default"}, 1);
    for (const Value& item : items) {
      Value value = attribute_path(environment, item, *attribute);
      const bool missing = value.is_undefined() && otherwise && !otherwise->is_none();
      out.push_back(missing ? *otherwise : std::move(value));
    }
  } else {
    const Filter& filter = named("map", arguments.positional[0], find_filter);
    const Arguments rest = behind(arguments, 1);
    for (const Value& item : items) {
      environment.meter.step();
      out.push_back(filter.call(environment, item, rest));
    }
  }
  return make_sequence(SequenceKind::kGenerator, std::move(out), environment.meter);
}

// by_attribute: the first argument names what is tested; then the test and its arguments, or nothing: truth.
Value selected(std::string_view name, Environment& environment, const Value& operand, const Arguments& arguments, bool by_attribute, bool wanted) {
  if (!truthy(operand)) return make_sequence(SequenceKind::kGenerator, {}, environment.meter);
  if (by_attribute && arguments.positional.empty()) throw Failure(fmt::format("{} needs the name of an attribute", name));
  const size_t taken = by_attribute ? 1 : 0;
  const bool tested = arguments.positional.size() > taken;
  const Test* test = tested ? &named(name, arguments.positional[taken], find_test) : nullptr;
  const Arguments rest = behind(arguments, taken + tested);
  std::vector<Value> out;
  for (Value& item : elements(operand, environment.meter)) {
    environment.meter.step();
    const Value looked_at = by_attribute ? attribute_path(environment, item, arguments.positional[0]) : item;
    const bool holds = test ? test->call(environment, looked_at, rest) : truthy(looked_at);
    if (holds == wanted) out.push_back(std::move(item));
  }
  return make_sequence(SequenceKind::kGenerator, std::move(out), environment.meter);
}

Value filter_select(Environment& e, const Value& operand, const Arguments& a) { return selected("select", e, operand, a, false, true); }
Value filter_reject(Environment& e, const Value& operand, const Arguments& a) { return selected("reject", e, operand, a, false, false); }
Value filter_selectattr(Environment& e, const Value& operand, const Arguments& a) { return selected("selectattr", e, operand, a, true, true); }
Value filter_rejectattr(Environment& e, const Value& operand, const Arguments& a) { return selected("rejectattr", e, operand, a, true, false); }

const Filter kFilters[] = {
    {"map", filter_map}, {"select", filter_select}, {"reject", filter_reject}, {"selectattr", filter_selectattr},
    {"rejectattr", filter_rejectattr},
};

}  // namespace

FilterTable selection_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace nibble::data::jinja
