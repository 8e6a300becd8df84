#include "io/packed_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/cache_folder.h"
#include "core/disk_space.h"
#include "core/error.h"
#include "core/file.h"
#include "core/file_lock.h"
#include "core/partial_file.h"
#include "core/verified_stamp.h"
#include "io/fingerprint.h"
#include "io/load_model.h"

namespace nibble::io {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kSpareDiskBytes = int64_t{64} << 20;  // a cache must not take the room of the run's checkpoints

double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// The files that hold a base's weights.
std::vector<fs::path> weight_files(const WeightSource& base) {
  if (fs::is_regular_file(base.path())) return {base.path()};
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(base.path())) {
    std::error_code error;
    if (!entry.is_regular_file(error)) continue;  // a link to nothing, for one
    const fs::path extension = entry.path().extension();
    if (extension == ".safetensors" || extension == ".gguf") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Writes a group's tensors, weight by weight; holds the packed form of one group.
class GroupWriter {
 public:
  GroupWriter(const WeightSource& base, const PackedRecipe& recipe, SafetensorsWriter& writer, const PackedCacheOptions& options)
      : base_(base), writer_(writer), options_(options), recipe_(recipe) {
    load_.dtype = recipe.dtype;
    load_.quant = recipe.quant;
  }

  void write(const PackedGroup& group) {
    std::vector<quant::QuantizedWeight> packed;
    std::vector<std::string> states;
    for (const PackedWeight& weight : group.packed) {
      packed.push_back(load_packed(weight));
      states.push_back(bnb_state(packed.back(), recipe_.dtype, weight.state_bytes));
      if (options_.each) options_.each();
    }
    for (const PackedTensor& t : group_tensors(group, recipe_)) {
      if (!t.dense) {
        put(t.tensor.name, bnb_bytes(packed[t.weight], t.part, states[t.weight]));
        continue;
      }
      const Tensor dense = load_dense(base_, t.tensor.name, t.tensor.shape, load_);
      put(t.tensor.name, {static_cast<const std::byte*>(dense.const_data_ptr()), dense.nbytes()});
      if (options_.each) options_.each();
    }
  }

  void finish() {
    const std::string all = std::move(checksums_);
    writer_.write(kChecksumsName, std::as_bytes(std::span(all)));
  }

 private:
  quant::QuantizedWeight load_packed(const PackedWeight& weight) const {
    if (weight.name == kHeadName) return load_head(base_, load_quantized_head()).packed;
    const std::string path = weight.name.substr(0, weight.name.rfind('.'));
    return load_linear(base_, path, {weight.out, weight.in, false}, load_).packed;
  }
  LoadOptions load_quantized_head() const {
    LoadOptions options = load_;
    options.quantize_head = true;
    return options;
  }
  void put(const std::string& name, std::span<const std::byte> bytes) {
    writer_.write(name, bytes);
    checksums_ += xxh3_128({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  const WeightSource& base_;
  SafetensorsWriter& writer_;
  const PackedCacheOptions& options_;
  PackedRecipe recipe_;
  LoadOptions load_;
  std::string checksums_;
};

void build(const WeightSource& base, const PackedRecipe& recipe, const std::vector<PackedGroup>& groups, const SafetensorsPlan& plan,
           const fs::path& file, const PackedCacheOptions& options) {
  const int64_t bytes = packed_file_bytes(plan);
  expect_disk_space(file.parent_path(), bytes + kSpareDiskBytes, "the packed cache of this base",
                    "make room, or name a folder on another disk with packed_cache_dir");
  const auto start = std::chrono::steady_clock::now();
  PartialFile partial(file);
  SafetensorsWriter writer(partial.path(), plan);
  GroupWriter group_writer(base, recipe, writer, options);
  for (const PackedGroup& group : groups) group_writer.write(group);
  group_writer.finish();
  writer.close();
  partial.commit();
  if (!options.say) return;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  options.say(fmt::format("wrote the packed base to {}: {:.0f} MiB in {:.1f} s", file.string(), mib(bytes), seconds));
}

// The file, or null and in `why` what is wrong with it, "" where it is not there.
std::unique_ptr<PackedSource> try_open(const WeightSource& base, const SafetensorsPlan& plan, const fs::path& file, const std::function<void()>& each,
                                       std::string& why) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return nullptr;
  try {
    const std::string identity = file_identity(file);
    auto source = std::make_unique<PackedSource>(base, file, plan);
    if (!is_vouched_for(file)) {
      source->verify(each);
      vouch_for(file, identity);
    }
    return source;
  } catch (const FormatError& error) {
    why = error.message();
  } catch (const IoError& error) {  // another user's, or a folder
    why = error.message();
  }
  return nullptr;
}

}  // namespace

fs::path default_packed_cache_folder() {
  const fs::path folder = user_cache_folder();
  if (!folder.empty()) return folder;
  throw ConfigError("neither XDG_CACHE_HOME nor HOME is set, so there is no place for the packed cache; name one with packed_cache_dir");
}

bool can_be_packed(const WeightSource& base) {
  return !base.is_packed(nn::projection_path(0, nn::Projection::kQ) + ".weight");
}

std::string packed_cache_key(const WeightSource& base, const PackedRecipe& recipe) {
  Fingerprint key;
  key.add(fmt::format("{} {}", kPackedFormat, recipe.text()));
  key.add(base.fingerprint());
  // The fingerprint samples the files; a change between its samples changes the time.
  for (const fs::path& file : weight_files(base)) {
    key.add(fmt::format("{} {} {}", file.filename().string(), fs::file_size(file), fs::last_write_time(file).time_since_epoch().count()));
  }
  return key.text();
}

fs::path packed_cache_file(const fs::path& folder, const WeightSource& base, const std::string& key) {
  fs::path named = base.path();
  if (!named.has_filename()) named = named.parent_path();
  return folder / fmt::format("{}-{}.safetensors", named.filename().string(), key);
}

std::unique_ptr<PackedSource> open_packed_cache(const WeightSource& base, const PackedRecipe& recipe, const PackedCacheOptions& options) {
  const std::string key = packed_cache_key(base, recipe);
  const fs::path file = packed_cache_file(options.folder, base, key);
  const std::vector<PackedGroup> groups = packed_groups(base.config(), recipe);
  const SafetensorsPlan plan = packed_plan(groups, recipe, key);
  std::string why;
  if (auto source = try_open(base, plan, file, options.each, why)) return source;
  const auto complain = [&](const std::string& then) {
    if (!why.empty() && options.say) options.say(fmt::format("the packed cache {} cannot be used: {}; {}", file.string(), why, then));
  };
  if (!options.build) {
    complain("it is left alone, and the base is read itself");
    return nullptr;
  }
  complain("it is made again");
  std::error_code error;
  fs::create_directories(options.folder, error);
  if (error) throw IoError("cannot create the folder of the packed cache; name another one with packed_cache_dir", options.folder.string(), error.value());
  const FileLock lock(options.folder / fmt::format(".{}.lock", file.filename().string()), options.each);
  // Another process may have made it meanwhile.
  std::string ignored;
  if (auto source = try_open(base, plan, file, options.each, ignored)) return source;
  if (lock.held()) PartialFile::remove_leftovers(file);
  build(base, recipe, groups, plan, file, options);
  auto source = std::make_unique<PackedSource>(base, file, plan);
  return source;
}

}  // namespace nibble::io
