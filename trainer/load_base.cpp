#include "trainer/load_base.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/mapped_pages.h"
#include "io/load_model.h"
#include "io/packed_cache.h"
#include "io/stream_model.h"
#include "nn/pinned_feed.h"
#include "trainer/from_config.h"

namespace nibble::trainer {
namespace {

io::PackedRecipe recipe_of(const schema::RunConfig& config) {
  return {compute_dtype(config), *quant_config(config), config.lm_head_load_in_4bit};
}

// The base's cache where this run wants one and there is one, else null.
std::shared_ptr<const io::PackedSource> open_cache(const io::WeightSource& source, const schema::RunConfig& config, bool streamed,
                                                   bool required, const LoadHooks& hooks) {
  if (!config.load_in_4bit || !io::can_be_packed(source)) return nullptr;
  if (config.packed_cache == AutoSwitch::kFalse) {
    if (!required) return nullptr;
    throw ConfigError("base_residency: streamed takes the base from its packed cache on a CPU, but packed_cache is false; allow it, "
                      "or set base_residency: resident");
  }
  io::PackedCacheOptions options;
  options.build = streamed || config.packed_cache == AutoSwitch::kTrue;
  options.say = hooks.say;
  options.each = hooks.each;
  try {
    options.folder = config.packed_cache_dir.empty() ? io::default_packed_cache_folder() : std::filesystem::path(config.packed_cache_dir);
    return io::open_packed_cache(source, recipe_of(config), options);
  } catch (const IoError& error) {
    // A disk that is full or not ours: the run can do without.
    if (required) throw;
    if (hooks.say) hooks.say(fmt::format("no packed cache: {}", error.what()));
  } catch (const ConfigError&) {
    if (required || !config.packed_cache_dir.empty() || config.packed_cache == AutoSwitch::kTrue) throw;
  }
  return nullptr;
}

// What keeps mapped files open for as long as the model, and tells the account what of them is resident.
struct MappedFiles {
  std::shared_ptr<const io::PackedSource> cache;
  MemoryShare base, embedding, head;
};

int64_t held_bytes(const Tensor& tensor, const io::WeightSource& source) {
  return tensor.defined() && source.holds(tensor.const_data_ptr()) ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

int64_t bytes_of(const nn::MappedPart& part) {
  int64_t bytes = 0;
  for (const auto& stretch : part) bytes += static_cast<int64_t>(stretch.size());
  return bytes;
}

// Views count as what is resident of them at most: all of a resident base, of a streamed one two neighbours.
void report(const nn::Model& model, const io::WeightSource& source, bool streamed, MemoryAccount* account, MappedFiles& files) {
  files.base = {account, MemoryPart::kBase, MemorySide::kHost};
  files.embedding = {account, MemoryPart::kEmbedding, MemorySide::kHost};
  files.head = {account, MemoryPart::kHead, MemorySide::kHost};
  files.embedding.set(held_bytes(model.embedding, source));
  if (!model.head.dense.is_same(model.embedding)) files.head.set(bytes_of(io::mapped_part(model.head, source)));
  int64_t all = 0, before = 0, largest = 0;
  for (const nn::Layer& layer : model.layers) {
    const int64_t bytes = bytes_of(io::mapped_part(layer, source));
    all += bytes;
    largest = std::max(largest, before + bytes);
    before = bytes;
  }
  files.base.set(streamed ? largest : all);
}

void stream_to_device(nn::Model& model, const io::WeightSource& source, const nn::Place& place) {
  std::vector<nn::MappedPart> parts(model.layers.size());
  // Copies are given back by themselves; what is mapped leaves when it has been taken.
  const auto& first = model.layers.front().q.weight.packed;
  if (first.defined() && source.holds(first.codes.const_data_ptr())) parts = io::mapped_parts(model, source);
  model.feed = std::make_shared<nn::PinnedFeed>(model, place, [&](int64_t layer) {
    for (const auto& stretch : parts[static_cast<size_t>(layer)]) drop_pages(stretch);
  });
}

}  // namespace

bool can_be_streamed(const io::WeightSource& source, const schema::RunConfig& config, bool on_device) {
  if (on_device) return config.load_in_4bit;
  if (config.load_in_4bit && io::can_be_packed(source)) return config.packed_cache != AutoSwitch::kFalse;
  const std::string name = nn::projection_path(0, nn::Projection::kQ) + ".weight";
  if (!source.has(name)) return false;
  if (config.load_in_4bit) return source.holds(source.view_packed(name).codes.const_data_ptr());
  if (source.is_packed(name) || source.gguf() != nullptr) return false;  // decoded, it is a copy
  const Tensor weight = source.read(name);
  return weight.scalar_type() == compute_dtype(config) && source.holds(weight.const_data_ptr());
}

nn::Model load_base(const io::WeightSource& source, const schema::RunConfig& config, const BaseChoices& choices, const nn::Place& place,
                    const LoadHooks& hooks) {
  const bool on_device = static_cast<bool>(place.queue);
  if (choices.streamed && on_device && !config.load_in_4bit) {
    throw ConfigError("base_residency: streamed to a GPU is for bases in 4 bits; set load_in_4bit: true, or base_residency: resident");
  }
  const auto cache = open_cache(source, config, choices.streamed, choices.streamed && !on_device, hooks);
  const io::WeightSource& weights = cache ? *cache : source;
  io::LoadOptions options;
  options.dtype = compute_dtype(config);
  options.quant = quant_config(config);
  options.quantize_head = config.lm_head_load_in_4bit;
  options.device = place.device;
  options.views = true;
  options.linears_on_host = choices.streamed;
  options.embedding_on_host = choices.offload_embedding;
  if (hooks.each) options.progress = [&](int64_t, int64_t) { hooks.each(); };
  nn::Model model = io::load_model(weights, options);
  const auto files = std::make_shared<MappedFiles>();
  files->cache = cache;
  if (!on_device) report(model, weights, choices.streamed, place.account, *files);
  model.files = files;
  if (!choices.streamed) return model;
  if (on_device) {
    stream_to_device(model, weights, place);
  } else {
    io::stream_from_files(model, weights);
  }
  if (hooks.say && cache) hooks.say(fmt::format("the base is streamed from {}", cache->file().string()));
  return model;
}

}  // namespace nibble::trainer
