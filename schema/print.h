// The configuration as text: the effective YAML, the documentation of all keys, the JSON schema for editors.
#pragma once

#include <string>

#include "schema/load.h"

namespace nibble::schema {

// Every key with its value, and where the value comes from as a comment. Reading it back gives the same configuration.
std::string effective_yaml(const LoadedConfig& loaded);

std::string config_docs();         // Markdown
std::string config_json_schema();  // JSON Schema, draft 07
std::string config_json(const RunConfig& config);  // one JSON object

}  // namespace nibble::schema
