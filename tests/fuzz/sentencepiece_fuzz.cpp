// libFuzzer target: any bytes as tokenizer.model. The library that reads it takes much on trust, so a model must be refused or
// be one that tokenizes.
//
// Units: data/spm data/spm_check data/hf_folder
#include "core/error.h"
#include "data/tokenizer.h"
#include "tests/fuzz/fuzz_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace nibble;
  const std::string_view input = fuzz::text_of(bytes, size);
  fuzz::folder().put("tokenizer.model", input);
  try {
    const data::Tokenizer tokenizer = data::Tokenizer::from_folder(fuzz::folder().path());
    const std::string_view tail = input.substr(input.size() - std::min<size_t>(input.size(), 200));
    for (const std::string_view text : {std::string_view("The 12 boats,\n\tat  noon: caf\xC3\xA9 \xF0\x9F\x9A\xA2 don't."), tail}) {
      const auto ids = tokenizer.encode(text, /*add_special_tokens=*/true);
      for (const int32_t id : ids) fuzz::require(id >= 0 && id < tokenizer.vocab_size());
      tokenizer.decode(ids, /*skip_special_tokens=*/false);
    }
  } catch (const Error& error) {
    fuzz::require(error.exit_code() == ExitCode::kDamagedFile);
  }
  return 0;
}
