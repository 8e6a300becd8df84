// libFuzzer target: a checkpoint's optimizer.safetensors: any bytes as they are, and a header and data of which the header's length
// is made right, loaded into an optimizer of two small parameters, with fp32 state and with 8-bit state.
//
// Units: io/optimizer_state io/safetensors optim/optimizer
#include "io/optimizer_state.h"

#include "core/error.h"
#include "tests/fuzz/fuzz_folder.h"

namespace {

using namespace nibble;

std::vector<optim::ParamRef> parameters() {
  return {{"a", at::ones({2, 3}, at::kBFloat16), at::zeros({2, 3}, at::kFloat)},
          {"b", at::ones({4, 32}, at::kFloat), at::zeros({4, 32}, at::kFloat)}};
}

void load(optim::Optimizer& optimizer, const std::filesystem::path& file) {
  try {
    io::load_optimizer(optimizer, file);
    fuzz::require(optimizer.steps() >= 0);
    io::save_optimizer(optimizer, fuzz::folder().path() / "again.safetensors");
  } catch (const FormatError& error) {
    fuzz::require(error.place().file == file.string());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static optim::Optimizer fp32({{0.9, 0.999, 1e-8, 0.01}, Optim::kAdamwTorch, 100}, parameters());
  static optim::Optimizer codes({{0.9, 0.999, 1e-8, 0.01}, Optim::kAdamw8bit, 100}, parameters());
  std::string_view rest = fuzz::text_of(bytes, size);
  const auto raw = fuzz::folder().put("raw.safetensors", rest);
  const std::string_view header = fuzz::take_part(rest);
  const auto sealed = fuzz::folder().put("sealed.safetensors", fuzz::safetensors_of(header, rest));
  for (optim::Optimizer* optimizer : {&fp32, &codes}) {
    load(*optimizer, raw);
    load(*optimizer, sealed);
  }
  return 0;
}
