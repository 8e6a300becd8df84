// Units: io/packed_cache, io/packed_source, io/packed_layout, io/bnb_writer, io/stream_model
#include "io/packed_cache.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>

#include "core/error.h"
#include "io/load_model.h"
#include "io/stream_model.h"
#include "tests/support/damage.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/golden_path.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace nibble::io {
namespace {

namespace fs = std::filesystem;
using test::golden_path;
using test::TemporaryFolder;

struct Cache {
  TemporaryFolder folder;
  std::vector<std::string> said;
  std::atomic<int64_t> polls = 0;  // on any thread

  PackedCacheOptions options(bool build = true) {
    return {folder / "cache", build, [this](const std::string& text) { said.push_back(text); }, [this] { ++polls; }};
  }
  // Files in the cache folder whose names end so, hidden ones too.
  int64_t files(const std::string& ending) const {
    int64_t n = 0;
    for (const auto& entry : fs::directory_iterator(folder / "cache")) n += entry.path().string().ends_with(ending) ? 1 : 0;
    return n;
  }
};

void expect_equal(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.defined(), b.defined()) << what;
  if (!a.defined()) return;
  EXPECT_EQ(a.scalar_type(), b.scalar_type()) << what;
  EXPECT_TRUE(at::equal(a, b)) << what;
}

void expect_equal(const nn::FrozenWeight& a, const nn::FrozenWeight& b, const std::string& what) {
  ASSERT_EQ(a.quantized(), b.quantized()) << what;
  expect_equal(a.dense, b.dense, what);
  if (!a.quantized()) return;
  EXPECT_EQ(a.packed.out, b.packed.out);
  EXPECT_EQ(a.packed.in, b.packed.in);
  EXPECT_EQ(a.packed.config.blocksize, b.packed.config.blocksize);
  EXPECT_EQ(a.packed.config.double_quant, b.packed.config.double_quant);
  EXPECT_EQ(a.packed.nested_offset, b.packed.nested_offset) << what;
  expect_equal(a.packed.codes, b.packed.codes, what);
  expect_equal(a.packed.absmax, b.packed.absmax, what);
  expect_equal(a.packed.absmax_codes, b.packed.absmax_codes, what);
  expect_equal(a.packed.nested_absmax, b.packed.nested_absmax, what);
}

void expect_equal(const nn::Model& a, const nn::Model& b) {
  expect_equal(a.embedding, b.embedding, "embedding");
  expect_equal(a.final_norm, b.final_norm, "final norm");
  expect_equal(a.head, b.head, "head");
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t l = 0; l < a.layers.size(); ++l) {
    expect_equal(a.layers[l].input_norm, b.layers[l].input_norm, "input norm");
    expect_equal(a.layers[l].post_attention_norm, b.layers[l].post_attention_norm, "post-attention norm");
    expect_equal(a.layers[l].q_norm, b.layers[l].q_norm, "q norm");
    expect_equal(a.layers[l].k_norm, b.layers[l].k_norm, "k norm");
    for (int p = 0; p < nn::kProjections; ++p) {
      const nn::Linear &x = a.layers[l].projection(static_cast<nn::Projection>(p)), &y = b.layers[l].projection(static_cast<nn::Projection>(p));
      expect_equal(x.weight, y.weight, x.path);
      expect_equal(x.bias, y.bias, x.path);
    }
  }
}

LoadOptions load_options(const PackedRecipe& recipe, bool views) {
  LoadOptions options;
  options.dtype = recipe.dtype;
  options.quant = recipe.quant;
  options.quantize_head = recipe.quantize_head;
  options.views = views;
  return options;
}

class PackedCacheOf : public testing::TestWithParam<std::tuple<const char*, PackedRecipe>> {};
INSTANTIATE_TEST_SUITE_P(
    Models, PackedCacheOf,
    testing::Combine(testing::Values("models/llama", "models/llama_tied", "models/llama_bias", "models/qwen2", "models/qwen3", "bnb_checkpoint_base"),
                     testing::Values(PackedRecipe{}, PackedRecipe{at::kFloat, {QuantType::kFp4, 128, false}, true}, PackedRecipe{at::kBFloat16, {}, true})));

TEST_P(PackedCacheOf, HoldsWhatLoadingTheBaseGives) {
  const auto& [name, recipe] = GetParam();
  const auto base = open_weight_source(golden_path(name));
  Cache cache;
  const auto made = open_packed_cache(*base, recipe, cache.options());
  EXPECT_GT(cache.polls, 0);
  ASSERT_EQ(cache.said.size(), 1u);
  EXPECT_NE(cache.said[0].find("wrote the packed base to"), std::string::npos);
  const nn::Model expected = load_model(*base, load_options(recipe, false));
  const auto found = open_packed_cache(*base, recipe, cache.options());
  EXPECT_EQ(cache.said.size(), 1u) << "a second run packs nothing";
  for (const bool views : {false, true}) {
    const nn::Model model = load_model(*found, load_options(recipe, views));
    expect_equal(model, expected);
    for (const Tensor& tensor : {model.layers[0].down.weight.packed.codes, model.layers[1].q.weight.packed.codes, model.embedding}) {
      EXPECT_EQ(found->holds(tensor.const_data_ptr()), views);
    }
  }
  EXPECT_EQ(cache.files(".partial"), 0);
  EXPECT_EQ(cache.files(".safetensors"), 1);
}

TEST_P(PackedCacheOf, AlignsEveryTensorAndKeepsLayersTogether) {
  const auto& [name, recipe] = GetParam();
  const auto base = open_weight_source(golden_path(name));
  Cache cache;
  const auto source = open_packed_cache(*base, recipe, cache.options());
  const SafetensorsFile file(source->file());
  for (const SafetensorsEntry& entry : file.entries()) EXPECT_EQ(entry.begin % dtype_bytes(entry.dtype), 0) << entry.name;
  const nn::Model model = load_model(*source, load_options(recipe, true));
  const auto parts = mapped_parts(model, *source);
  ASSERT_EQ(parts.size(), model.layers.size() + 1);
  for (size_t l = 1; l < model.layers.size(); ++l) {
    for (const auto& before : parts[l - 1]) {
      for (const auto& after : parts[l]) EXPECT_LE(before.data() + before.size(), after.data());
    }
  }
}

TEST(PackedCacheKey, ChangesWithTheBaseAndTheRecipe) {
  TemporaryFolder folder;
  fs::copy(golden_path("models/llama"), folder / "base", fs::copy_options::recursive);
  const auto key = [&](const PackedRecipe& recipe) { return packed_cache_key(*open_weight_source((folder / "base").string()), recipe); };
  const std::string first = key({});
  EXPECT_EQ(key({}), first);
  EXPECT_NE(key({at::kFloat, {}, false}), first);
  EXPECT_NE(key({at::kBFloat16, {QuantType::kFp4, 64, true}, false}), first);
  EXPECT_NE(key({at::kBFloat16, {QuantType::kNf4, 128, true}, false}), first);
  EXPECT_NE(key({at::kBFloat16, {QuantType::kNf4, 64, false}, false}), first);
  EXPECT_NE(key({at::kBFloat16, {}, true}), first);
  // The same bytes, written again: it may not be the same model between the samples of the fingerprint.
  fs::last_write_time(folder / "base" / "model.safetensors", fs::file_time_type::clock::now() + std::chrono::seconds(5));
  EXPECT_NE(key({}), first);
}

// What must not be used, and is made again: name, what happens to the file, what is said.
struct Damage {
  const char* name;
  std::function<void(const fs::path&)> apply;
  const char* said;
};

void overwrite(const fs::path& file, int64_t at, const std::string& bytes) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(at);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

class DamagedCache : public testing::TestWithParam<Damage> {};
INSTANTIATE_TEST_SUITE_P(
    Cases, DamagedCache,
    testing::Values(Damage{"one_bit", [](const fs::path& file) {
                             const auto at = static_cast<int64_t>(fs::file_size(file)) / 2;
                             const char byte = test::file_bytes(file)[static_cast<size_t>(at)];
                             overwrite(file, at, std::string(1, static_cast<char>(byte ^ 1)));
                           }, "does not have its checksum"},
                    Damage{"checksums", [](const fs::path& file) { overwrite(file, static_cast<int64_t>(fs::file_size(file)) - 40, "x"); }, "checksum"},
                    Damage{"short", [](const fs::path& file) { fs::resize_file(file, fs::file_size(file) - 100); }, "beyond the file"},
                    Damage{"empty", [](const fs::path& file) { fs::resize_file(file, 0); }, "cannot be used"},
                    Damage{"long", [](const fs::path& file) { std::ofstream(file, std::ios::app) << "tail"; }, "follow the last tensor"},
                    Damage{"garbage", [](const fs::path& file) { std::ofstream(file) << "not a safetensors file at all"; }, "cannot be used"},
                    Damage{"of_another_model", [](const fs::path& file) {
                             const auto other = open_weight_source(golden_path("models/llama_tied"));
                             const auto made = open_packed_cache(*other, {}, {file.parent_path() / "other", true, {}, {}});
                             fs::copy_file(made->file(), file, fs::copy_options::overwrite_existing);
                           }, "of another model"},
                    Damage{"no_cache", [](const fs::path& file) {
                             fs::copy_file(golden_path("models/llama") + "/model.safetensors", file, fs::copy_options::overwrite_existing);
                           }, "no packed cache"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(DamagedCache, IsSaidAndMadeAgain) {
  const auto base = open_weight_source(golden_path("models/llama"));
  Cache cache;
  const fs::path file = open_packed_cache(*base, {}, cache.options())->file();
  GetParam().apply(file);
  cache.said.clear();
  EXPECT_EQ(open_packed_cache(*base, {}, cache.options(/*build=*/false)), nullptr);
  ASSERT_EQ(cache.said.size(), 1u);
  EXPECT_NE(cache.said[0].find("left alone"), std::string::npos) << cache.said[0];
  cache.said.clear();
  const auto again = open_packed_cache(*base, {}, cache.options());
  ASSERT_EQ(cache.said.size(), 2u);
  EXPECT_NE(cache.said[0].find("it is made again"), std::string::npos) << cache.said[0];
  EXPECT_NE(cache.said[0].find(GetParam().said), std::string::npos) << cache.said[0];
  EXPECT_NE(cache.said[0].find(file.string()), std::string::npos);
  expect_equal(load_model(*again, load_options({}, true)), load_model(*base, load_options({}, false)));
}

// Header, tensors and their checksums vouch for each other: no damaged file is one that gives other weights.
TEST(DamagedFiles, PackedCacheGivesItsWeightsOrNone) {
  const TemporaryFolder folder(test::in_memory());
  test::tiny_gguf({.hidden = 4, .intermediate = 4}).write(folder / "base.gguf");
  const auto base = open_weight_source((folder / "base.gguf").string());
  const PackedRecipe recipe;
  const std::string key = packed_cache_key(*base, recipe);
  const auto plan = packed_plan(packed_groups(base->config(), recipe), recipe, key);
  const auto made = open_packed_cache(*base, recipe, {folder / "cache", true, {}, {}});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);  // to meet for a few bytes takes two longer than to check them
  const std::string good = test::file_bytes(made->file());
  const SafetensorsFile file(made->file());
  // The beginning with length, key and first tensors; all that is no header.
  for (const auto& [begin, end] : {std::pair(size_t{0}, size_t{600}), std::pair(8 + file.header().size(), good.size())}) {
    const auto count = test::try_damage(good.substr(begin, end - begin), [&](const std::string& part) {
      test::put_file(folder / "damaged.safetensors", good.substr(0, begin) + part + good.substr(end));
      const PackedSource source(*base, folder / "damaged.safetensors", plan);
      source.verify();
      ASSERT_EQ(source.names(), made->names());
      for (const std::string& name : source.names()) ASSERT_TRUE(at::equal(source.read(name), made->read(name))) << name;
    });
    EXPECT_EQ(count.accepted_cuts, 0);
    EXPECT_GT(count.refused, count.tried * 9 / 10);
  }
  at::set_num_threads(threads);
}

TEST(PackedCache, IsOnlyLookedForWhereItShallNotBeMade) {
  const auto base = open_weight_source(golden_path("models/llama"));
  Cache cache;
  EXPECT_EQ(open_packed_cache(*base, {}, cache.options(/*build=*/false)), nullptr);
  EXPECT_TRUE(cache.said.empty());
  EXPECT_FALSE(fs::exists(cache.folder / "cache"));
  EXPECT_TRUE(can_be_packed(*base));
  EXPECT_FALSE(can_be_packed(*open_weight_source(golden_path("bnb_checkpoint"))));
}

TEST(PackedCache, StoppedHalfWayLeavesNothing) {
  const auto base = open_weight_source(golden_path("models/llama"));
  Cache cache;
  PackedCacheOptions options = cache.options();
  options.each = [n = 0]() mutable { if (++n == 5) throw Interrupted("enough"); };
  EXPECT_THROW(open_packed_cache(*base, {}, options), Interrupted);
  EXPECT_EQ(cache.files(".partial"), 0);
  EXPECT_EQ(cache.files(".safetensors"), 0);
  // What a killed process leaves goes with the next attempt.
  const fs::path file = packed_cache_file(options.folder, *base, packed_cache_key(*base, {}));
  test::put_file(options.folder / ("." + file.filename().string() + ".12345.partial"), "half");
  EXPECT_NE(open_packed_cache(*base, {}, cache.options()), nullptr);
  EXPECT_EQ(cache.files(".partial"), 0);
}

TEST(PackedCache, IsMadeOnceByTwoProcesses) {
  const auto base = open_weight_source(golden_path("models/llama"));
  Cache cache;
  fs::create_directories(cache.folder / "cache");
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      // LibTorch's threads did not survive the fork: one is enough here.
      at::set_num_threads(1);
      bool built = false;
      int code = 9;
      try {
        PackedCacheOptions options = cache.options();
        options.say = [&](const std::string&) { built = true; };
        const auto source = open_packed_cache(*base, {}, options);
        source->verify();
        code = built ? 1 : 0;
      } catch (...) {
      }
      ::_exit(code);
    }
    children.push_back(child);
  }
  int builders = 0;
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    ASSERT_LE(WEXITSTATUS(status), 1);
    builders += WEXITSTATUS(status);
  }
  EXPECT_EQ(builders, 1);
  EXPECT_EQ(cache.files(".partial"), 0);
}

TEST(DefaultPackedCacheFolder, IsTheUsers) {
  const char* home = std::getenv("HOME");
  const std::string old_home = home == nullptr ? "" : home;
  ::setenv("XDG_CACHE_HOME", "/somewhere/cache", 1);
  EXPECT_EQ(default_packed_cache_folder(), "/somewhere/cache/nibble");
  ::unsetenv("XDG_CACHE_HOME");
  ::setenv("HOME", "/someone", 1);
  EXPECT_EQ(default_packed_cache_folder(), "/someone/.cache/nibble");
  ::unsetenv("HOME");
  EXPECT_THROW(default_packed_cache_folder(), ConfigError);
  if (home != nullptr) ::setenv("HOME", old_home.c_str(), 1);
}

// Training from the mapped cache, streamed, against the base in memory: the same bits at every level of recomputation.
TEST(StreamFromFiles, GivesTheBitsOfTheResidentBase) {
  const auto base = open_weight_source(golden_path("models/llama"));
  Cache cache;
  const PackedRecipe recipe{at::kFloat, {}, false};
  const std::shared_ptr<const PackedSource> packed = open_packed_cache(*base, recipe, cache.options());
  for (const Recompute level : {Recompute::kNone, Recompute::kElementwise, Recompute::kMlp, Recompute::kLayer}) {
    const auto train = [&](bool streamed) {
      nn::Model model = streamed ? load_model(*packed, load_options(recipe, true)) : load_model(*base, load_options(recipe, false));
      if (streamed) {
        model.files = packed;
        stream_from_files(model, *packed);
      }
      nn::attach_lora(model, {}, 7);
      model.each_lora([&](const std::string&, nn::Lora& lora) { lora.b.copy_(test::random_tensor(lora.b.sizes(), 5, 0.1)); });
      nn::Pass pass(model, 64);
      nn::PassOptions options;
      options.recompute.assign(model.layers.size(), {level});
      const test::TinyBatch batch({9, 17}, model.config.vocab_size);
      std::vector<Tensor> out{at::tensor(pass.forward_backward(batch.view(), options).nll, at::kDouble)};
      out.push_back(at::tensor(pass.forward_loss(batch.view(), options).nll, at::kDouble));
      out.push_back(pass.forward_logits(batch.view()));
      model.each_lora([&](const std::string&, nn::Lora& lora) { out.insert(out.end(), {lora.da, lora.db}); });
      return out;
    };
    const auto expected = train(false), got = train(true);
    ASSERT_EQ(expected.size(), got.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], expected[i])) << i;
  }
}

TEST(StreamFromFiles, StreamsDenseAndPackedFilesThemselvesAndRefusesCopies) {
  const auto packed = open_weight_source(golden_path("bnb_checkpoint"));
  nn::Model model = load_model(*packed, load_options({}, true));
  EXPECT_EQ(mapped_parts(model, *packed).size(), model.layers.size() + 1);
  const auto dense = open_weight_source(golden_path("models/llama"));
  const at::ScalarType stored = dense->read("model.norm.weight").scalar_type();
  LoadOptions options;
  options.views = true;
  options.dtype = stored;
  EXPECT_NO_THROW(mapped_parts(load_model(*dense, options), *dense));
  options.dtype = stored == at::kFloat ? at::kBFloat16 : at::kFloat;
  EXPECT_THROW(mapped_parts(load_model(*dense, options), *dense), ConfigError);
  options.quant = quant::QuantConfig{};
  EXPECT_THROW(mapped_parts(load_model(*dense, options), *dense), ConfigError) << "quantized into private memory";
}

}  // namespace
}  // namespace nibble::io
