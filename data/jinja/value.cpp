#include "data/jinja/value.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/utf8.h"
#include "data/jinja/compare.h"

namespace nibble::data::jinja {
namespace {

constexpr int kMaxDepth = 100;      // of lists and dictionaries in each other; rows of datasets are at most 64 deep
constexpr size_t kIndexFrom = 16;   // keys; below, going through them is faster

int depth_of(const Value& value) {
  if (const Sequence* s = value.sequence()) return s->depth;
  if (const Dict* d = value.dict()) return d->depth();
  return 0;
}

int depth_around(int inner) {
  if (inner >= kMaxDepth) throw Failure("lists or dictionaries stand in each other too deep");
  return inner + 1;
}

void require_key(const Value& key) {
  if (key.dict() || (key.sequence() && key.sequence()->kind != SequenceKind::kTuple)) {
    throw Failure(fmt::format("a value of type '{}' cannot be a key", type_name(key)));
  }
  if (const Sequence* tuple = key.sequence()) {
    for (const Value& item : tuple->items) require_key(item);
  }
}

}  // namespace

std::string Undefined::message() const {
  switch (reason) {
    case Reason::kVariable: return fmt::format("'{}' is undefined", name);
    case Reason::kAttribute: return fmt::format("a value of type '{}' has no attribute or element '{}'", owner, name);
    case Reason::kElement: return fmt::format("a value of type '{}' has no such element", owner);
    case Reason::kUnsafe:
      return fmt::format("'{}' of a value of type '{}' is not available to templates, which may not change values", name, owner);
    case Reason::kParameter: return fmt::format("the macro's parameter '{}' was not given", name);
    case Reason::kOther: return std::string(name);
  }
  throw std::logic_error("unknown reason");
}

void Dict::set(const Value& key, const Value& value, Meter& meter) {
  require_key(key);
  depth_ = std::max(depth_, depth_around(std::max(depth_of(key), depth_of(value))));
  const size_t at = position(key, meter);
  if (at < items_.size()) {
    items_[at].second = value;
    return;
  }
  items_.emplace_back(key, value);
  if (items_.size() < kIndexFrom) return;
  for (size_t i = items_.size() == kIndexFrom ? 0 : items_.size() - 1; i < items_.size(); ++i) {
    if (const Text* text = items_[i].first.text()) index_.emplace(text->bytes(), i);
  }
}

size_t Dict::position(std::string_view key) const {
  if (items_.size() >= kIndexFrom) {
    const auto found = index_.find(key);
    return found == index_.end() ? items_.size() : found->second;
  }
  for (size_t i = 0; i < items_.size(); ++i) {
    const Text* text = items_[i].first.text();
    if (text && text->bytes() == key) return i;
  }
  return items_.size();
}

size_t Dict::position(const Value& key, Meter& meter) const {
  if (const Text* text = key.text()) return position(text->bytes());
  for (size_t i = 0; i < items_.size(); ++i) {
    if (!items_[i].first.text() && equal(items_[i].first, key, meter)) return i;
  }
  return items_.size();
}

const Value* Dict::find(std::string_view key) const {
  const size_t at = position(key);
  return at < items_.size() ? &items_[at].second : nullptr;
}

const Value* Dict::find(const Value& key, Meter& meter) const {
  require_key(key);
  const size_t at = position(key, meter);
  return at < items_.size() ? &items_[at].second : nullptr;
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [key, value] : attributes) {
    if (key.bytes() == name) return &value;
  }
  return nullptr;
}

void Namespace::set(const Text& name, const Value& value) {
  for (auto& [key, old] : attributes) {
    if (key.bytes() == name.bytes()) {
      old = value;
      return;
    }
  }
  attributes.emplace_back(name, value);
}

Value make_sequence(SequenceKind kind, std::vector<Value> items, Meter& meter) {
  meter.create(items.size() * sizeof(Value));
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  auto sequence = std::make_shared<Sequence>();
  sequence->kind = kind;
  sequence->depth = depth_around(depth);
  sequence->items = std::move(items);
  return Value(std::shared_ptr<const Sequence>(std::move(sequence)));
}

Value make_list(std::vector<Value> items, Meter& meter) { return make_sequence(SequenceKind::kList, std::move(items), meter); }

Value make_dict(Dict dict, Meter& meter) {
  meter.create(dict.items().size() * 2 * sizeof(Value));
  return Value(std::shared_ptr<const Dict>(std::make_shared<Dict>(std::move(dict))));
}

const char* type_name(const Value& value) {
  struct Names {
    const char* operator()(const Undefined&) { return "Undefined"; }
    const char* operator()(const None&) { return "NoneType"; }
    const char* operator()(bool) { return "bool"; }
    const char* operator()(int64_t) { return "int"; }
    const char* operator()(double) { return "float"; }
    const char* operator()(const Text&) { return "str"; }
    const char* operator()(const std::shared_ptr<const Sequence>& s) {
      switch (s->kind) {
        case SequenceKind::kList: return "list";
        case SequenceKind::kTuple: return "tuple";
        case SequenceKind::kRange: return "range";
        case SequenceKind::kKeys: return "dict_keys";
        case SequenceKind::kValues: return "dict_values";
        case SequenceKind::kItems: return "dict_items";
        case SequenceKind::kGenerator: return "generator";
      }
      throw std::logic_error("unknown sequence");
    }
    const char* operator()(const std::shared_ptr<const Dict>&) { return "dict"; }
    const char* operator()(Namespace*) { return "namespace"; }
    const char* operator()(const std::shared_ptr<LoopState>&) { return "loop"; }
    const char* operator()(const MacroValue*) { return "macro"; }
    const char* operator()(Global) { return "function"; }
    const char* operator()(const LoopMethod&) { return "method"; }
    const char* operator()(const std::shared_ptr<const BoundMethod>&) { return "method"; }
  };
  return std::visit(Names{}, value.variant());
}

bool truthy(const Value& value) {
  struct Truth {
    bool operator()(const Undefined&) { return false; }
    bool operator()(const None&) { return false; }
    bool operator()(bool b) { return b; }
    bool operator()(int64_t i) { return i != 0; }
    bool operator()(double d) { return d != 0; }
    bool operator()(const Text& text) { return !text.empty(); }
    bool operator()(const std::shared_ptr<const Sequence>& s) { return s->kind == SequenceKind::kGenerator || !s->items.empty(); }
    bool operator()(const std::shared_ptr<const Dict>& d) { return !d->items().empty(); }
    bool operator()(Namespace*) { return true; }
    bool operator()(const std::shared_ptr<LoopState>&) { return true; }  // has a length, which is never 0 inside the loop
    bool operator()(const MacroValue*) { return true; }
    bool operator()(Global) { return true; }
    bool operator()(const LoopMethod&) { return true; }
    bool operator()(const std::shared_ptr<const BoundMethod>&) { return true; }
  };
  return std::visit(Truth{}, value.variant());
}

std::optional<int64_t> as_integer(const Value& value) {
  if (const int64_t* i = value.get<int64_t>()) return *i;
  if (const bool* b = value.get<bool>()) return *b ? 1 : 0;
  return std::nullopt;
}

std::vector<Value> elements(const Value& value, Meter& meter) {
  std::vector<Value> out;
  if (const Sequence* s = value.sequence()) {
    meter.create((s->items.size() - s->next) * sizeof(Value));
    out.assign(s->items.begin() + static_cast<std::ptrdiff_t>(s->next), s->items.end());
    if (s->kind == SequenceKind::kGenerator) s->next = s->items.size();
  } else if (const Dict* d = value.dict()) {
    meter.create(d->items().size() * sizeof(Value));
    for (const auto& [key, item] : d->items()) out.push_back(key);
  } else if (const Text* text = value.text()) {
    meter.create(text->bytes().size() * sizeof(Value));
    for (size_t at = 0; at < text->bytes().size();) {
      const auto length = static_cast<size_t>(decode_utf8(text->bytes(), at).length);
      out.push_back(Value(text->part(at, at + length)));
      at += length;
    }
  } else if (!value.is_undefined()) {
    throw Failure(fmt::format("a value of type '{}' has no elements to go through", type_name(value)));
  }
  return out;
}

void require_defined(const Value& value) {
  if (const Undefined* u = value.get<Undefined>()) throw Failure(u->message());
}

}  // namespace nibble::data::jinja
