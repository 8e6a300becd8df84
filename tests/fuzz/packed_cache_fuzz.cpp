// libFuzzer target: any bytes as a packed cache. Twice: as they are, and as the tensors of a file whose header is what the plan
// says and whose checksums are made right, so that the fuzzer gets past the frame. Whatever the tensors hold, each weight that is
// read is finite.
//
// Units: io/packed_source io/packed_layout io/bnb quant/blockwise
#include "io/packed_source.h"

#include "core/error.h"
#include "io/tensor_check.h"
#include "tests/fuzz/fuzz_folder.h"

namespace {

using namespace nibble;

// The base that the cache was made of, which is asked for its configuration only.
class Base : public io::WeightSource {
 public:
  Base() {
    config_.vocab_size = 4;
    config_.hidden_size = 8;
    config_.intermediate_size = 8;
    config_.num_hidden_layers = 1;
    config_.num_attention_heads = 2;
    config_.num_key_value_heads = 1;
    config_.head_dim = 4;
    config_.layer_window = {0};
  }
  const std::vector<std::string>& names() const override { return none_; }
  bool has(const std::string&) const override { return false; }
  std::string stored_name(const std::string& name) const override { return name; }
  std::vector<int64_t> shape(const std::string&) const override { return {}; }
  Tensor read(const std::string&) const override { return {}; }
  bool is_packed(const std::string&) const override { return false; }
  quant::QuantizedWeight read_packed(const std::string&) const override { return {}; }
  Place place(const std::string&) const override { return {}; }
  void drop(const std::string&) const override {}
  std::string fingerprint() const override { return ""; }

 private:
  std::vector<std::string> none_;
};

struct Packed {
  Base base;
  io::PackedRecipe recipe;
  io::SafetensorsPlan plan = io::packed_plan(io::packed_groups(base.config(), recipe), recipe, "key");
  int64_t data_bytes = 0;  // of all tensors but the checksums

  Packed() {
    for (const auto& t : plan.tensors) data_bytes += io::checked_bytes(t.shape, t.dtype);
    data_bytes -= static_cast<int64_t>(io::kChecksumDigits * (plan.tensors.size() - 1));
  }

  void read(const std::filesystem::path& file) const {
    try {
      const io::PackedSource source(base, file, plan);
      source.verify();
      for (const std::string& name : source.names()) {
        try {
          const Tensor weight = source.read(name);
          if (source.is_packed(name)) fuzz::require(!io::first_non_finite(weight));
          source.drop(name);
        } catch (const FormatError&) {
        }
      }
    } catch (const FormatError& error) {
      fuzz::require(!error.message().empty());
    }
  }

  // The tensors' bytes from the input, zeros where it ends, written with the plan's header and their own checksums.
  std::filesystem::path seal(std::string_view input) const {
    std::string data(input.substr(0, static_cast<size_t>(data_bytes)));
    data.resize(static_cast<size_t>(data_bytes));
    const auto path = fuzz::folder().path() / "sealed.safetensors";
    io::SafetensorsWriter writer(path, plan);
    std::string checksums;
    size_t at = 0;
    for (const auto& t : plan.tensors) {
      if (t.name == io::kChecksumsName) break;
      const auto bytes = std::string_view(data).substr(at, static_cast<size_t>(io::checked_bytes(t.shape, t.dtype)));
      writer.write(t.name, std::as_bytes(std::span(bytes.data(), bytes.size())));
      checksums += xxh3_128(bytes);
      at += bytes.size();
    }
    writer.write(io::kChecksumsName, std::as_bytes(std::span(checksums)));
    writer.close();
    return path;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const Packed packed;
  const std::string_view input = fuzz::text_of(bytes, size);
  packed.read(fuzz::folder().put("raw.safetensors", input));
  packed.read(packed.seal(input));
  return 0;
}
