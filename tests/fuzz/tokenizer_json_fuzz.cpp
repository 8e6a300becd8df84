// libFuzzer target: tokenizer.json is what a stranger wrote. Whatever its bytes, the loader refuses it by name or gives a
// tokenizer that encodes and decodes.
#include "core/error.h"
#include "tests/fuzz/use_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace nibble;
  try {
    fuzz::use_tokenizer("tokenizer.json", fuzz::text_of(bytes, size));
  } catch (const Error&) {
  }
  return 0;
}
