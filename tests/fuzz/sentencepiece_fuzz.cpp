// libFuzzer target: any bytes as tokenizer.model. The library that reads it takes much on trust, so a model must be refused or
// be one that tokenizes.
//
// Units: data/spm data/spm_check data/hf_folder
#include "core/error.h"
#include "tests/fuzz/use_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace nibble;
  try {
    fuzz::use_tokenizer("tokenizer.model", fuzz::text_of(bytes, size));
  } catch (const Error& error) {
    fuzz::require(error.exit_code() == ExitCode::kDamagedFile);
  }
  return 0;
}
