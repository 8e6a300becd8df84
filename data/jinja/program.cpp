#include "data/jinja/program.h"

#include "core/error.h"
#include "data/jinja/from_json.h"
#include "data/jinja/interpreter.h"
#include "data/jinja/parsed.h"

namespace nibble::data::jinja {

Program::Program(std::shared_ptr<const ParsedTemplate> parsed) : parsed_(std::move(parsed)) {}

Program Program::parse(std::string_view source, std::string name) { return Program(parse_template(source, std::move(name))); }

bool Program::has_generation_blocks() const { return parsed_->has_generation_blocks; }

bool Program::reads_clock() const { return parsed_->reads_clock; }

Output Program::render(const nlohmann::ordered_json& variables, const std::vector<std::string>& origins, const RenderOptions& options) const {
  const Place place{parsed_->source.name, 0, 0, -1};
  std::vector<std::optional<Value>> values(parsed_->names.size());
  try {
    if (!variables.is_object()) throw Failure("the variables of a template are an object");
    const Origins found = find_origins(variables, origins);
    Meter meter(options.limits);
    for (size_t i = 0; i < values.size(); ++i) {
      const auto at = variables.find(parsed_->names[i]);
      if (at != variables.end()) values[i] = from_json(*at, found, meter);
    }
  } catch (const Failure& failure) {
    throw DataError(failure.what(), place);
  }
  return Interpreter(*parsed_, std::move(values), options).run();
}

}  // namespace nibble::data::jinja
