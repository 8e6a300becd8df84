// libFuzzer target: any bytes as a GGUF file: its header, the model's configuration, every weight decoded, and the tokenizer in
// its metadata, both used and written out as tokenizer.json.
//
// Units: io/gguf io/gguf_model io/gguf_tokenizer io/weights_from_gguf trainer/open_tokenizer
#include "io/gguf.h"

#include <vector>

#include "core/error.h"
#include "io/gguf_tokenizer.h"
#include "io/weights_from_gguf.h"
#include "tests/fuzz/fuzz_folder.h"
#include "trainer/open_tokenizer.h"

namespace {

using namespace nibble;

void decode_all(const io::GgufFile& file) {
  for (const io::GgufTensor& tensor : file.tensors()) {
    fuzz::require(tensor.begin >= file.data_begin() && tensor.begin + tensor.bytes <= file.size());
    std::vector<float> row(static_cast<size_t>(tensor.row_elements()));
    for (int64_t r = 0; r < tensor.rows(); ++r) io::dequantize_rows(file, tensor, r, 1, row.data());
  }
}

template <typename Read>
void refused_or(Read read) {
  try {
    read();
  } catch (const Error& error) {
    fuzz::require(error.exit_code() == ExitCode::kDamagedFile || error.exit_code() == ExitCode::kUsage);
  }
}

void use_tokenizer(const io::WeightSource& source) {
  const data::Tokenizer tokenizer = trainer::open_tokenizer(source);
  const auto ids = tokenizer.encode("The 12 boats,\n\tat  noon: caf\xC3\xA9 don't.", /*add_special_tokens=*/true);
  for (const int32_t id : ids) fuzz::require(id >= 0 && id < tokenizer.vocab_size());
  tokenizer.decode(ids, /*skip_special_tokens=*/false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto path = fuzz::folder().put("model.gguf", fuzz::text_of(bytes, size));
  refused_or([&] {
    const io::GgufFile file(path);
    decode_all(file);
    refused_or([&] { io::render_tokenizer_json(file); });
    refused_or([&] { io::render_tokenizer_config(file); });
    const io::GgufSource source(path);
    refused_or([&] { use_tokenizer(source); });
    refused_or([&] {
      for (const std::string& name : source.names()) source.read(name);
    });
  });
  return 0;
}
