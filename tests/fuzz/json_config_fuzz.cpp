// libFuzzer target: the JSON files of a model folder. The first byte picks which: config.json, generation_config.json and
// quantization, adapter_config.json, tokenizer_config.json, model.safetensors.index.json. A configuration that is accepted is
// one that renders and reads back as itself.
//
// Units: schema/json_text io/hf_config io/bnb io/adapter io/shards data/json_view
#include "io/hf_config.h"

#include "core/error.h"
#include "data/tokenizer_spec.h"
#include "io/adapter.h"
#include "io/bnb.h"
#include "io/shards.h"
#include "tests/fuzz/fuzz_folder.h"

namespace {

using namespace nibble;

void read_model_config(const std::string& text) {
  const nn::ModelConfig config = io::parse_hf_config(text, "config.json");
  const std::string rendered = io::render_hf_config(config);
  fuzz::require(io::render_hf_config(io::parse_hf_config(rendered, "config.json")) == rendered);
  io::merged_hf_config(text, "bfloat16");
}

void read_adapter(const std::string& text) {
  fuzz::folder().put("adapter_config.json", text);
  const io::AdapterConfig config = io::read_adapter_config(fuzz::folder().path());
  fuzz::require(config.r > 0 && !config.target_modules.empty());
  const std::string rendered = io::render_adapter_config(config);
  fuzz::folder().put("adapter_config.json", rendered);
  fuzz::require(io::render_adapter_config(io::read_adapter_config(fuzz::folder().path())) == rendered);
}

void read_tokenizer_settings(const std::string& text) {
  fuzz::folder().put("tokenizer_config.json", text);
  data::TokenizerSpec spec;
  spec.path = "tokenizer.json";
  spec.tokens = {"<s>", "</s>", "a"};
  data::read_tokenizer_config(fuzz::folder().path(), spec);
  for (const int32_t id : {spec.bos_id, spec.eos_id, spec.pad_id, spec.unk_id}) {
    fuzz::require(id >= -1 && id < static_cast<int64_t>(spec.tokens.size()));
  }
}

// The index names shards; only the one that is there, in the folder itself, may ever be opened.
void read_index(const std::string& text) {
  fuzz::folder().put("a.safetensors", fuzz::safetensors_of(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "1"));
  fuzz::folder().put(io::kShardIndexName, text);
  const io::SafetensorsShards shards(fuzz::folder().path());
  fuzz::require(shards.files().size() == 1 && shards.names().size() == 1 && shards.find("x") != nullptr);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  const std::string text(fuzz::text_of(bytes + 1, size - 1));
  try {
    switch (bytes[0] % 5) {
      case 0: read_model_config(text); break;
      case 1: {
        const auto path = fuzz::folder().put("config.json", text);
        io::check_quantization_config(path);
        fuzz::folder().put("generation_config.json", text);
        fuzz::folder().put("config.json", R"({"model_type":"llama","vocab_size":8,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":1})");
        io::read_hf_config(path);
        break;
      }
      case 2: read_adapter(text); break;
      case 3: read_tokenizer_settings(text); break;
      case 4: read_index(text); break;
    }
  } catch (const Error& error) {
    fuzz::require(error.exit_code() == ExitCode::kDamagedFile || error.exit_code() == ExitCode::kUsage);
  }
  return 0;
}
