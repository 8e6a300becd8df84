// libFuzzer target: any bytes as a configuration file. What is accepted prints as a configuration that reads back as itself.
//
// Units: schema/yaml schema/load schema/scalar schema/print schema/aliases
#include "core/error.h"
#include "schema/load.h"
#include "schema/print.h"
#include "tests/fuzz/fuzz_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace nibble;
  try {
    const auto path = fuzz::folder().put("run.yaml", fuzz::text_of(bytes, size));
    const std::string effective = schema::effective_yaml(schema::load_run_config(path, {}, schema::Needs::kNothing));
    fuzz::folder().put("run.yaml", effective);
    const auto again = schema::load_run_config(path, {}, schema::Needs::kNothing);
    fuzz::require(schema::resume_keys(again.config).size() > 0);
  } catch (const ConfigError& error) {
    fuzz::require(!error.message().empty());
  }
  return 0;
}
