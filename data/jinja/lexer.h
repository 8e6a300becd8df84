// A template's text to tokens, with jinja2's rules for white space around tags.
//
// trim_blocks: the line break right behind a block or comment is dropped. lstrip_blocks: blanks between the beginning of a
// line and a block or comment are dropped. A minus inside a tag drops all white space on its side, a plus keeps it all.
// {% raw %} is answered here: its content arrives as data. Source: jinja2's documentation, "Whitespace Control".
#pragma once

#include <vector>

#include "data/jinja/source.h"
#include "data/jinja/token.h"

namespace nibble::data::jinja {

// The last token is kEnd. THROWS FormatError with line and column.
std::vector<Token> tokenize(const Source& source);

// Replaces the escapes of a string literal, given without its quotes, as Python does: \n, \x41, \u00e9, \101, ...; an
// unknown escape stays as it is. at: of the literal's first byte, for errors. THROWS FormatError.
std::string unescape(const Source& source, std::string_view literal, size_t at);

}  // namespace nibble::data::jinja
