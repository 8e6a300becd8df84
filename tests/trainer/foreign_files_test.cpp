// Units: trainer/run_state trainer/metrics trainer/diagnostics core/inside_folder core/mapping_guard
// Files that are not what they should be, as the binary meets them: pipes and devices, links that lead out, files that change while
// a run reads them, weights that are no numbers. Each ends with its message and exit code; none hangs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "tests/support/damage.h"
#include "tests/trainer/run_binary.h"
#include "trainer/run_state.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using test::put_file;
using test::RunWorkshop;
using ::testing::AnyOf;
using ::testing::HasSubstr;

void replace_by_pipe(const fs::path& file) {
  fs::remove(file);
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
}

TEST(ForeignFiles, PipesAndFoldersInTheirPlaceNeverHang) {
  for (const char* name : {"model/config.json", "model/model.safetensors", "model/tokenizer.json", "model/tokenizer_config.json",
                           "model/generation_config.json", "model/chat_template.jinja", "rows.jsonl", "run.yaml"}) {
    for (const bool folder : {false, true}) {
      const RunWorkshop shop;
      if (folder) {
        fs::remove(shop / name);
        fs::create_directory(shop / name);
      } else {
        replace_by_pipe(shop / name);
      }
      const auto result = shop.train("run");
      EXPECT_THAT(result.exit_code, AnyOf(1, 2, 3, 5)) << name << ": " << result.err;
      EXPECT_THAT(result.err, HasSubstr(fs::path(name).filename().string())) << name;
    }
  }
}

TEST(ForeignFiles, ALinkOutOfTheModelFolderIsNotFollowed) {
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"}) {
    const RunWorkshop shop;
    const fs::path file = shop / "model" / name, outside = shop / "outside";
    if (fs::exists(file)) {
      fs::rename(file, outside);
    } else {
      put_file(outside, "{{ 1 }}");
    }
    fs::create_symlink(outside, file);
    const auto result = shop.train("run");
    EXPECT_EQ(result.exit_code, 5) << name << ": " << result.err;
    EXPECT_THAT(result.err, HasSubstr("it is a link to")) << name;
  }
}

TEST(ForeignFiles, AFolderOfTheHuggingFaceCacheIsRead) {
  const RunWorkshop shop;
  fs::create_directories(shop / "hub/models--org--name/blobs");
  fs::create_directories(shop / "hub/models--org--name/snapshots/abc");
  for (const auto& entry : fs::directory_iterator(shop / "model")) {
    const std::string blob = "blob-" + entry.path().filename().string();
    fs::copy_file(entry.path(), shop / ("hub/models--org--name/blobs/" + blob));
    fs::create_symlink("../../blobs/" + blob, shop / ("hub/models--org--name/snapshots/abc/" + entry.path().filename().string()));
  }
  const auto result = shop.train("run", {"model_name_or_path=" + shop("hub/models--org--name/snapshots/abc"), "max_steps=1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST(ForeignFiles, ACheckpointsLinkOutMakesItDamaged) {
  const RunWorkshop shop;
  ASSERT_EQ(shop.train("run").exit_code, 0);
  fs::rename(shop / "run/checkpoint-8/trainer_state.json", shop / "outside.json");
  fs::create_symlink(shop / "outside.json", shop / "run/checkpoint-8/trainer_state.json");
  const auto listed = shop.nibble({"ckpt", "verify", shop("run"), "--json"});
  EXPECT_THAT(listed.out, HasSubstr("trainer_state.json is a link to"));
  const auto resumed = shop.train("run", {"max_steps=8"});
  EXPECT_NE(resumed.exit_code, 0);
  const auto from = shop.nibble({"resume", shop("run"), "--from", "checkpoint-8", "--json"});
  EXPECT_EQ(from.exit_code, 5) << from.err;
}

TEST(ForeignFiles, AWeightThatIsNoNumberIsNamedWithItsByte) {
  const RunWorkshop shop;
  const fs::path file = shop / "model/model.safetensors";
  std::string bytes = file_bytes(file);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto json = nlohmann::json::parse(bytes.substr(8, header));
  for (const char* name : {"model.layers.0.mlp.up_proj.weight", "model.norm.weight", "model.embed_tokens.weight"}) {
    const size_t begin = 8 + header + json.at(name).at("data_offsets").at(0).get<size_t>();
    std::string damaged = bytes;
    damaged.replace(begin + 4, 4, "\xFF\xFF\xFF\xFF");
    put_file(file, damaged);
    for (const char* packed : {"true", "false"}) {
      const auto result = shop.train("run", {std::string("packed_cache=") + packed, "packed_cache_dir=" + shop("cache")});
      EXPECT_EQ(result.exit_code, 5) << result.err;
      EXPECT_THAT(result.err, HasSubstr("model.safetensors (byte " + std::to_string(begin))) << name;
      EXPECT_THAT(result.err, HasSubstr(std::string("weight '") + name + "' is ")) << name;
      EXPECT_THAT(result.err, HasSubstr("nan at index")) << name;
    }
  }
}

TEST(ForeignFiles, AFileCutShortWhileItIsReadEndsTheRunWithItsName) {
  const RunWorkshop shop;
  const auto arguments = shop.train_arguments("run", {"max_steps=1000000", "logging_steps=1", "save_steps=1000000", "base_residency=streamed",
                                                      "packed_cache_dir=" + shop("cache")});
  test::Program run(shop.path(), arguments);
  const auto logged = [&] { return fs::exists(shop / "run/metrics.jsonl") && fs::file_size(shop / "run/metrics.jsonl") > 0; };
  while (run.running() && !logged()) ::usleep(2000);
  ASSERT_TRUE(run.running()) << run.wait().err;
  fs::path packed;
  for (const auto& entry : fs::directory_iterator(shop / "cache")) {
    if (entry.path().extension() == ".safetensors") packed = entry.path();
  }
  ASSERT_FALSE(packed.empty());
  fs::resize_file(packed, 4096);
  const auto result = run.wait();
  EXPECT_EQ(result.exit_code, 5) << result.err;
  const auto error = result.error();
  EXPECT_EQ(error.at("error"), "FormatError");
  EXPECT_THAT(error.at("file").get<std::string>(), HasSubstr(packed.filename().string()));
  EXPECT_THAT(error.at("message").get<std::string>(), HasSubstr("the file became shorter while it was read"));
}

TEST(ForeignFiles, HostileNamesDoNotReachTheTerminal) {
  const RunWorkshop shop;
  const std::string header = "{\"\\u001b]0;owned\\u0007\\u001b[2J\":{\"dtype\":\"X\",\"shape\":[],\"data_offsets\":[0,0]}}";
  const uint64_t length = header.size();
  put_file(shop / "model/model.safetensors", std::string(reinterpret_cast<const char*>(&length), sizeof length) + header);
  const auto result = shop.train("run");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.err, HasSubstr("\\x1B]0;owned\\x07"));
  EXPECT_EQ(result.err.find('\x1B'), std::string::npos);
}

TEST(DamagedRunFiles, TrainerState) {
  RunState state;
  state.global_step = 12;
  state.max_steps = 20;
  state.best_model_checkpoint = "checkpoint-8";
  MetricsRow row;
  row.step = 12;
  row.memory = NamedNumbers{{"base", 1.5}};
  state.log(row);
  const auto count = test::try_damage(run_state_json(state), [](const std::string& text) {
    const RunState read = parse_run_state(text, "trainer_state.json");
    EXPECT_GE(read.global_step, 0);
    EXPECT_GE(read.cursor_row, 0);
    if (read.best_model_checkpoint) {
      EXPECT_EQ(read.best_model_checkpoint->find('/'), std::string::npos);
    }
  });
  EXPECT_LE(count.accepted_cuts, 1);  // the newline at its end
}

TEST(DamagedRunFiles, MetricsLines) {
  MetricsRow row;
  row.step = 3;
  row.loss = 1.25;
  row.eval_loss = 2.5;
  const auto count = test::try_damage(metrics_line(row), [](const std::string& line) { EXPECT_GE(parse_metrics_line(line, "metrics.jsonl").step, 0); });
  EXPECT_EQ(count.accepted_cuts, 0);
  EXPECT_GT(count.refused, count.tried / 3);
}

}  // namespace
}  // namespace nibble::trainer
