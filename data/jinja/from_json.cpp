#include "data/jinja/from_json.h"

#include <limits>

namespace nibble::data::jinja {
namespace {

using nlohmann::ordered_json;

constexpr int kMostDepth = 90;  // a little less than lists made by the template may have

class Reader {
 public:
  Reader(const Origins& origins, Meter& meter) : origins_(origins), meter_(meter) {}

  Value read(const ordered_json& json, int depth) {
    if (depth > kMostDepth) throw Failure("the variables have lists or objects inside each other too deep");
    switch (json.type()) {
      case ordered_json::value_t::null: return Value();
      case ordered_json::value_t::boolean: return Value(json.get<bool>());
      case ordered_json::value_t::number_integer: return Value(json.get<int64_t>());
      case ordered_json::value_t::number_unsigned:
        if (json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
          throw Failure("the variables hold an integer of more than 64 bits, which is not supported");
        }
        return Value(json.get<int64_t>());
      case ordered_json::value_t::number_float: return Value(json.get<double>());
      case ordered_json::value_t::string: return Value(text(json.get_ref<const std::string&>()));
      case ordered_json::value_t::array: {
        std::vector<Value> items;
        items.reserve(json.size());
        for (const ordered_json& item : json) items.push_back(read(item, depth + 1));
        return make_list(std::move(items), meter_);
      }
      case ordered_json::value_t::object: {
        Dict dict;
        for (const auto& [key, value] : json.items()) dict.set(Value(Text(key)), read(value, depth + 1), meter_);
        return make_dict(std::move(dict), meter_);
      }
      case ordered_json::value_t::binary:
      case ordered_json::value_t::discarded: break;
    }
    throw Failure("the variables hold a value that JSON does not have");
  }

 private:
  Text text(const std::string& string) const {
    const auto found = origins_.empty() ? origins_.end() : origins_.find(&string);
    return Text(string, found == origins_.end() ? kNoOrigin : found->second);
  }

  const Origins& origins_;
  Meter& meter_;
};

}  // namespace

Origins find_origins(const ordered_json& variables, const std::vector<std::string>& pointers) {
  Origins out;
  for (size_t i = 0; i < pointers.size(); ++i) {
    try {
      const ordered_json& at = variables.at(ordered_json::json_pointer(pointers[i]));
      if (at.is_string()) out.emplace(&at.get_ref<const std::string&>(), static_cast<int32_t>(i));
    } catch (const ordered_json::exception&) {
      continue;  // leads nowhere
    }
  }
  return out;
}

Value from_json(const ordered_json& json, const Origins& origins, Meter& meter) { return Reader(origins, meter).read(json, 1); }

}  // namespace nibble::data::jinja
