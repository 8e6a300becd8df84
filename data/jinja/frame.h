// Variables of a scope: of the template, of a turn of a loop, of a macro's call. What is set in a scope ends with it; what is
// not there is looked for in the scope around it, of a macro in the one where the macro is written.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "data/jinja/ast.h"

namespace nibble::data::jinja {

struct Frame : std::enable_shared_from_this<Frame> {
  explicit Frame(Frame* around) : parent(around) {}

  Frame* parent;
  std::vector<std::pair<NameId, Value>> variables;  // few

  const Value* find(NameId id) const {
    for (const Frame* frame = this; frame; frame = frame->parent) {
      for (const auto& [name, value] : frame->variables) {
        if (name == id) return &value;
      }
    }
    return nullptr;
  }

  void set(NameId id, Value value) {
    for (auto& [name, old] : variables) {
      if (name == id) {
        old = std::move(value);
        return;
      }
    }
    variables.emplace_back(id, std::move(value));
  }
};

// A macro as a value: what it does and where its free names are looked for. The frame is kept by the interpreter.
struct MacroValue {
  const Macro* macro;
  Frame* frame;
};

}  // namespace nibble::data::jinja
