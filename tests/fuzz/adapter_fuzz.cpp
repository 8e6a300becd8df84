// libFuzzer target: a PEFT folder from bytes: adapter_config.json, NUL, the tensors' header, NUL, their data, read for a model of
// one small layer. What is accepted binds factors of the right shapes with finite values and a finite scale.
//
// Units: io/adapter io/safetensors io/tensor_check
#include "io/adapter.h"

#include "core/error.h"
#include "io/tensor_check.h"
#include "tests/fuzz/fuzz_folder.h"

namespace {

using namespace nibble;

nn::ModelConfig small_model() {
  nn::ModelConfig c;
  c.vocab_size = 8;
  c.hidden_size = 4;
  c.intermediate_size = 6;
  c.num_hidden_layers = 1;
  c.num_attention_heads = 2;
  c.num_key_value_heads = 1;
  c.head_dim = 2;
  c.layer_window = {0};
  return c;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const nn::ModelConfig model = small_model();
  std::string_view rest = fuzz::text_of(bytes, size);
  fuzz::folder().put("adapter_config.json", fuzz::take_part(rest));
  const std::string_view header = fuzz::take_part(rest);
  fuzz::folder().put("adapter_model.safetensors", fuzz::safetensors_of(header, rest));
  try {
    const io::Adapter adapter = io::read_adapter(fuzz::folder().path(), model);
    fuzz::require(!adapter.factors.empty());
    for (const auto& [path, factors] : adapter.factors) {
      const int64_t rank = adapter.config.rank_of(path);
      fuzz::require(factors.a.dim() == 2 && factors.a.size(0) == rank && factors.b.dim() == 2 && factors.b.size(1) == rank);
      fuzz::require(!io::first_non_finite(factors.a) && !io::first_non_finite(factors.b) && std::isfinite(factors.scale));
    }
  } catch (const Error& error) {
    fuzz::require(error.exit_code() == ExitCode::kDamagedFile || error.exit_code() == ExitCode::kUsage);
  }
  return 0;
}
