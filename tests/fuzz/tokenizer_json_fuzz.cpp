// libFuzzer target: tokenizer.json is what a stranger wrote. Whatever its bytes, the loader refuses it by name or gives a
// tokenizer that encodes and decodes.
#include "core/error.h"
#include "data/tokenizer.h"
#include "tests/fuzz/fuzz_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace nibble;
  const std::string_view input = fuzz::text_of(bytes, size);
  fuzz::folder().put("tokenizer.json", input);
  try {
    const data::Tokenizer tokenizer = data::Tokenizer::from_folder(fuzz::folder().path());
    const std::string_view tail = input.substr(input.size() - std::min<size_t>(input.size(), 200));
    for (const std::string_view text : {std::string_view("The 12 boats,\n\tat  noon: caf\xC3\xA9 \xF0\x9F\x9A\xA2 don't."), tail}) {
      const auto ids = tokenizer.encode(text, /*add_special_tokens=*/true);
      for (const int32_t id : ids) fuzz::require(id >= 0 && id < tokenizer.vocab_size());
      tokenizer.decode(ids, /*skip_special_tokens=*/false);
    }
  } catch (const Error&) {
  }
  return 0;
}
