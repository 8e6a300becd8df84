#include "io/shards.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/fingerprint.h"
#include "io/hub_cache.h"
#include "tests/io/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace nibble::io {
namespace {

namespace fs = std::filesystem;
using test::put_file;
using test::TemporaryFolder;

void put_shard(const fs::path& path, const std::vector<std::string>& names) {
  SafetensorsPlan plan;
  for (const std::string& name : names) plan.tensors.push_back({name, DType::kU8, {1}});
  SafetensorsWriter writer(path, plan);
  const std::byte one{1};
  for (const std::string& name : names) writer.write(name, std::span(&one, 1));
  writer.close();
}

std::string index_of(const std::map<std::string, std::string>& map) {
  return nlohmann::json{{"metadata", {{"total_size", 3}}}, {"weight_map", map}}.dump();
}

TEST(Shards, ReadsThreeAsOne) {
  const SafetensorsShards shards(std::string(NIBBLE_GOLDEN_DIR) + "/models/qwen2");
  EXPECT_EQ(shards.files().size(), 3u);
  EXPECT_EQ(shards.names().size(), 27u);
  ASSERT_NE(shards.find("lm_head.weight"), nullptr);
  EXPECT_EQ(shards.find("lm_head.weight")->file->path().filename(), "model-00003-of-00003.safetensors");
  EXPECT_EQ(shards.find("none"), nullptr);
}

TEST(Shards, NamesWhatIsMissingOrMisplaced) {
  const TemporaryFolder folder;
  EXPECT_ERROR(SafetensorsShards(folder.path()), "ConfigError", "neither model.safetensors nor model.safetensors.index.json");
  put_shard(folder / "s1.safetensors", {"a", "b"});
  const auto expect = [&](const std::string& index, const char* message) {
    put_file(folder / kShardIndexName, index);
    EXPECT_ERROR(SafetensorsShards(folder.path()), "FormatError", message);
  };
  expect(index_of({{"a", "s1.safetensors"}, {"c", "s2.safetensors"}}), "shard 's2.safetensors' is missing");
  expect(index_of({{"a", "s1.safetensors"}, {"c", "s1.safetensors"}}), "tensor 'c' is not in it");
  expect(index_of({{"a", "../s1.safetensors"}}), "not the name of a file in this folder");
  expect(index_of({{"a", "/etc/passwd"}}), "not the name of a file in this folder");
  expect(index_of({{"a", ".."}}), "not the name of a file in this folder");
  expect(R"({"weight_map": {"a": 1}})", "not the name of a file in this folder");
  expect(R"({"weight_map": {}})", "no 'weight_map'");
  expect(R"({"weight_map": [])", "not JSON");
  put_file(folder / kShardIndexName, index_of({{"a", "s1.safetensors"}}));
  const SafetensorsShards shards(folder.path());
  EXPECT_EQ(shards.names(), (std::vector<std::string>{"a"}));  // "b" is no part of the model
}

TEST(ShardIndex, IsReadBack) {
  const TemporaryFolder folder;
  put_shard(folder / "s1.safetensors", {"b"});
  put_shard(folder / "s2.safetensors", {"a"});
  put_file(folder / kShardIndexName, render_shard_index({{"b", "s1.safetensors"}, {"a", "s2.safetensors"}}, 2));
  const SafetensorsShards shards(folder.path());
  EXPECT_EQ(shards.names(), (std::vector<std::string>{"b", "a"}));
}

class HubCache : public ::testing::Test {
 protected:
  HubCache() {
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"}) ::unsetenv(name);
  }
  ~HubCache() override { ::unsetenv("HF_HUB_CACHE"); ::unsetenv("HF_HOME"); ::unsetenv("XDG_CACHE_HOME"); }
  TemporaryFolder folder_;
};

TEST_F(HubCache, FollowsTheEnvironment) {
  EXPECT_EQ(hub_cache_folder(), fs::path(std::getenv("HOME")) / ".cache/huggingface/hub");
  ::setenv("XDG_CACHE_HOME", "/x", 1);
  EXPECT_EQ(hub_cache_folder(), "/x/huggingface/hub");
  ::setenv("HF_HOME", "/h", 1);
  EXPECT_EQ(hub_cache_folder(), "/h/hub");
  ::setenv("HF_HUB_CACHE", "~/c", 1);
  EXPECT_EQ(hub_cache_folder(), fs::path(std::getenv("HOME")) / "c");
}

TEST_F(HubCache, FindsTheSnapshotOfMainOrSaysHowToFetchIt) {
  ::setenv("HF_HUB_CACHE", folder_.path().c_str(), 1);
  EXPECT_ERROR(find_model("org/some-model"), "ConfigError", "hf download org/some-model");
  const fs::path model = folder_ / "models--org--some-model";
  put_file(model / "refs/main", "abc123\n");
  EXPECT_ERROR(find_model("org/some-model"), "ConfigError", "hf download org/some-model");
  put_file(model / "snapshots/abc123/config.json", "{}");
  EXPECT_EQ(find_model("org/some-model"), model / "snapshots/abc123");
  put_file(model / "refs/main", "../../etc");
  EXPECT_ERROR(find_model("org/some-model"), "FormatError", "name of a snapshot");
  put_file(folder_ / "models--gpt/refs/main", "f");
  put_file(folder_ / "models--gpt/snapshots/f/x", "");
  EXPECT_EQ(find_model("gpt"), folder_ / "models--gpt/snapshots/f");
}

TEST_F(HubCache, PrefersAPathThatExists) {
  EXPECT_EQ(find_model(folder_.path().string()), folder_.path());
  EXPECT_ERROR(find_model("./no/such/folder"), "ConfigError", "no folder or file './no/such/folder'");
  EXPECT_ERROR(find_model(""), "ConfigError", "model_name_or_path");
}

TEST(HubId, IsANameOrTwo) {
  EXPECT_TRUE(is_hub_id("gpt2"));
  EXPECT_TRUE(is_hub_id("meta-llama/Llama-3.2_1B.x"));
  for (const char* name : {"", "/a", "a/", "a/b/c", "../a", ".", "a b", "a/..", "-a/b"}) EXPECT_FALSE(is_hub_id(name)) << name;
}

TEST(Fingerprint, TellsOtherBytesNamesAndSizesApart) {
  std::string bytes(1 << 16, 'x');
  const auto print = [&](std::string_view name) {
    Fingerprint f;
    f.add_file(name, std::as_bytes(std::span(bytes.data(), bytes.size())), 100);
    return f.text();
  };
  const std::string first = print("a");
  EXPECT_EQ(first, print("a"));
  EXPECT_NE(first, print("b"));
  bytes[50] = 'y';  // in the header
  EXPECT_NE(first, print("a"));
  bytes[50] = 'x';
  for (size_t i = 100; i < bytes.size(); i += 1000) bytes[i] = 'z';
  EXPECT_NE(first, print("a"));
  bytes.assign((1 << 16) + 1, 'x');
  EXPECT_NE(first, print("a"));
  bytes.clear();
  EXPECT_EQ(print("a").size(), 32u);
}

}  // namespace
}  // namespace nibble::io
