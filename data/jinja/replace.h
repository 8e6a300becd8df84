// Replacing parts of strings, with the marks of what stays and of what comes in.
#pragma once

#include "data/jinja/text.h"

namespace nibble::data::jinja {

// The first `count` occurrences, all where it is negative; an empty old_part stands between all characters.
Text replace_text(const Text& text, const Text& old_part, const Text& new_part, int64_t count, Meter& meter);

}  // namespace nibble::data::jinja
