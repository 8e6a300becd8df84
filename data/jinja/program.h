// A chat template in Jinja, parsed once and rendered for every row.
//
// The language is what transformers' apply_chat_template gives a template: jinja2's ImmutableSandboxedEnvironment with
// trim_blocks and lstrip_blocks, the loop controls, tojson without HTML escapes, raise_exception, strftime_now and
// {% generation %}. docs/data.md lists what is supported; everything else is refused by name, with line and column,
// while parsing wherever that can be known then.
//
// Renderings say where their text comes from: a string of the variables that is registered as an origin is followed
// through concatenation, slices, strip, split, replace, join, macros and variables into the output. So the span of an
// answer is known without searching the text for it. tojson keeps it for what needs no escape; a filter that makes another
// text of it (escape) ends the trail.
//
// Who renders as transformers does passes messages, tools and documents (null where there are none: they are defined
// then), add_generation_prompt and the special tokens (bos_token, eos_token, ...). Of a message's reasoning_content, thinking
// and reasoning it takes the first that is not null and gives it as reasoning_content and, where that is missing, thinking.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/jinja/limits.h"
#include "data/jinja/mark.h"

namespace nibble::data::jinja {

struct Output {
  std::string text;         // UTF-8
  std::vector<Mark> marks;  // in order of begin; of origins disjoint, those of kGeneration may have others inside
};

struct RenderOptions {
  // What strftime_now tells, as local time. Absent: the wall clock; set it where equal input has to give equal output.
  std::optional<std::tm> now = std::nullopt;
  Limits limits = {};
};

struct ParsedTemplate;

class Program {
 public:
  // name: of the file, for messages. THROWS FormatError with line and column, naming what is not supported.
  static Program parse(std::string_view source, std::string name);

  // variables: an object. origins: JSON pointers to strings in it ("/messages/3/content"); a mark's origin is the index
  // in this list. A pointer to nothing or to a value of another type marks nothing. May be called by any number of
  // threads. THROWS DataError with the template's line and column: the text given to raise_exception, an operation on
  // values of the wrong type, a limit that was exceeded.
  Output render(const nlohmann::ordered_json& variables, const std::vector<std::string>& origins = {},
                const RenderOptions& options = {}) const;

  // {% generation %}...{% endgeneration %} (TRL, transformers): what stands in them is marked kGeneration.
  bool has_generation_blocks() const;

  // Whether the template names strftime_now, so that its output may depend on RenderOptions::now.
  bool reads_clock() const;

 private:
  explicit Program(std::shared_ptr<const ParsedTemplate> parsed);
  std::shared_ptr<const ParsedTemplate> parsed_;
};

}  // namespace nibble::data::jinja
