// What filters, tests, methods and functions need of the rendering they run in.
#pragma once

#include <ctime>
#include <deque>
#include <optional>

#include "data/jinja/value.h"

namespace nibble::data::jinja {

struct Environment {
  Meter meter;
  std::optional<std::tm> now;         // for strftime_now; nullopt: the wall clock
  std::deque<Namespace> namespaces;   // owns what Value points to

  ~Environment() {
    // A namespace may hold lists that hold other namespaces; none owns another, so emptying each ends all of it.
    for (Namespace& ns : namespaces) ns.attributes.clear();
  }
};

}  // namespace nibble::data::jinja
