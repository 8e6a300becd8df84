// Units: trainer/cmd_ckpt trainer/cmd_doctor trainer/cmd_plan trainer/cmd_export trainer/cmd_eval trainer/cmd_generate trainer/cmd_chat
// Units: trainer/artifact trainer/open_tokenizer trainer/commands trainer/plan_report trainer/text_session
// What the verbs print with --json about one finished run, and that they agree with each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/trainer/run_binary.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;
using test::RunWorkshop;
using testing::HasSubstr;

// One run for all tests of the suite.
class FinishedRun : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shop_ = new RunWorkshop;
    const auto trained = shop_->train("run");
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
    test::put_file(*shop_ / "text.txt", "It was the best of times, it was the worst of times. It was the age of wisdom.");
  }
  static void TearDownTestSuite() {
    delete shop_;
    shop_ = nullptr;
  }
  const RunWorkshop& shop() const { return *shop_; }
  nlohmann::json json(std::vector<std::string> arguments) const {
    arguments.push_back("--json");
    const auto result = shop_->nibble(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.exit_code == 0 ? result.json() : nlohmann::json::object();
  }

 private:
  static inline RunWorkshop* shop_ = nullptr;
};

TEST_F(FinishedRun, ListsAndVerifiesItsCheckpoints) {
  for (const char* what : {"list", "verify"}) {
    const auto found = json({"ckpt", what, shop()("run")}).at("checkpoints");
    ASSERT_EQ(found.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(found[i].at("state"), "good");
      EXPECT_TRUE(found[i].at("reason").is_null());
    }
  }
}

TEST_F(FinishedRun, MergedFolderScoresAsTheRunDoes) {
  const auto of_run = json({"eval", shop()("run"), "--text", shop()("text.txt")});
  EXPECT_GT(of_run.at("tokens"), 50);
  EXPECT_NEAR(of_run.at("loss").get<double>(), of_run.at("nll").get<double>() / of_run.at("tokens").get<double>(), 1e-9);
  EXPECT_NEAR(of_run.at("perplexity").get<double>(), std::exp(of_run.at("loss").get<double>()), 1e-6 * of_run.at("perplexity").get<double>());

  const auto exported = json({"export", shop()("run"), shop()("merged"), "--format", "merged", "--verify", "--text", shop()("text.txt")});
  EXPECT_EQ(exported.at("format"), "merged");
  EXPECT_GT(exported.at("bytes"), 0);
  // (c) The merged weights are rounded to bf16 (8 bits): the distributions move by far less than a thousandth of a nat.
  EXPECT_LT(exported.at("fidelity").at("kl").get<double>(), 1e-3);
  EXPECT_NEAR(exported.at("fidelity").at("trained_loss").get<double>(), exported.at("fidelity").at("exported_loss").get<double>(), 1e-2);
  const auto of_merged = json({"eval", shop()("merged"), "--text", shop()("text.txt"), "--set", "max_length=64", "--set",
                               "bnb_4bit_compute_dtype=float32"});
  EXPECT_EQ(of_merged.at("tokens"), of_run.at("tokens"));
  EXPECT_NEAR(of_merged.at("loss").get<double>(), of_run.at("loss").get<double>(), 1e-2);
}

TEST_F(FinishedRun, AdapterFolderHoldsTheCheckpointsTensors) {
  const auto exported = json({"export", shop()("run"), shop()("adapter"), "--format", "adapter"});
  EXPECT_TRUE(exported.at("fidelity").is_null());
  EXPECT_TRUE(test::file_bytes(shop() / "adapter/adapter_model.safetensors") == test::file_bytes(shop() / "run/checkpoint-8/adapter_model.safetensors"));
  EXPECT_EQ(nlohmann::json::parse(test::file_bytes(shop() / "adapter/adapter_config.json")).at("r"), 4);
}

TEST_F(FinishedRun, GeneratesTheSameTextTwiceAndTakesTheSeedIntoAccount) {
  const auto generate = [&](const char* seed) {
    return json({"generate", shop()("run"), "--prompt", "Hello", "--max-new-tokens", "12", "--temperature", "4", "--seed", seed});
  };
  const auto once = generate("1");
  EXPECT_LE(once.at("ids").size(), 12u);
  EXPECT_GE(once.at("ids").size(), 1u);
  EXPECT_EQ(once.at("ids"), generate("1").at("ids"));
  EXPECT_NE(once.at("ids"), generate("2").at("ids"));
}

// A tokenizer that has the first `count` ids of the 96, or more than the model.
void give_tokens(const test::RunWorkshop& shop, int count) {
  auto tokenizer = nlohmann::json::parse(test::file_bytes(shop / "model/tokenizer.json"));
  nlohmann::json vocab;
  for (const auto& [token, id] : tokenizer.at("model").at("vocab").items()) {
    if (id < count) vocab[token] = id;
  }
  for (int id = static_cast<int>(vocab.size()); id < count; ++id) vocab[fmt::format("[{}]", id)] = id;
  tokenizer["model"]["vocab"] = vocab;
  test::put_file(shop / "model/tokenizer.json", tokenizer.dump());
}

// Vocabularies are padded to round numbers: what the tokenizer lacks is never chosen, for nobody could read it.
TEST(GenerateCommand, ChoosesTokensOfTheTokenizerOnly) {
  const test::RunWorkshop shop;
  give_tokens(shop, 40);
  const auto done = shop.nibble({"generate", shop("model"), "--prompt", "123", "--max-new-tokens", "100", "--temperature", "100", "--ignore-eos", "--json"});
  ASSERT_EQ(done.exit_code, 0) << done.err;
  const auto ids = done.json().at("ids").get<std::vector<int>>();
  EXPECT_EQ(ids.size(), 100u);
  EXPECT_EQ(done.json().at("prompt_ids").size(), 3u);
  std::set<int> seen;
  for (const int id : ids) {
    EXPECT_LT(id, 40);
    seen.insert(id);
  }
  EXPECT_GT(seen.size(), 20u) << "at this temperature all are about as likely";
}

TEST(GenerateCommand, ChatWritesThePromptInTheChosenFormatAndStopsAtItsEnd) {
  const test::RunWorkshop shop;
  const std::vector<std::string> words{"generate", shop("model"), "--prompt", "ab", "--chat", "--max-new-tokens", "4", "--json"};
  const auto none = shop.nibble(words);
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_NE(none.err.find("set chat_template_path"), std::string::npos) << none.err;
  auto with_format = words;
  with_format.insert(with_format.end(), {"--set", "chat_template_user_prefix=Q", "--set", "chat_template_assistant_prefix=A"});
  const auto done = shop.nibble(with_format);
  ASSERT_EQ(done.exit_code, 0) << done.err;
  const auto plain = shop.nibble({"generate", shop("model"), "--prompt", "QabA", "--max-new-tokens", "4", "--json"});
  EXPECT_EQ(done.json().at("prompt_ids"), plain.json().at("prompt_ids"));
  EXPECT_EQ(done.json().at("ids"), plain.json().at("ids"));
}

TEST(ChatCommand, KeepsTheConversationUntilItIsEnded) {
  const test::RunWorkshop shop;
  test::put_file(shop / "stdin.txt", "ab\n\ncd\r\n/exit\nnot read\n");
  const std::vector<std::string> words{"chat", shop("model"), "--system", "Be", "--max-new-tokens", "5", "--set", "chat_template_user_prefix=Q", "--set",
                                       "chat_template_assistant_prefix=A", "--set", "chat_template_system_prefix=S"};
  auto as_json = words;
  as_json.push_back("--json");
  const auto done = shop.nibble(as_json);
  ASSERT_EQ(done.exit_code, 0) << done.err;
  const auto messages = done.json().at("messages");
  ASSERT_EQ(messages.size(), 5u) << done.out;
  EXPECT_EQ(messages[0], (nlohmann::json{{"role", "system"}, {"content", "Be"}}));
  EXPECT_EQ(messages[1].at("content"), "ab");
  EXPECT_EQ(messages[3].at("content"), "cd");
  EXPECT_EQ(messages[4].at("role"), "assistant");
  // The second answer is what generation gives behind the whole conversation so far.
  const std::string so_far = "SBeQabA" + messages[2].at("content").get<std::string>() + "</s>QcdA";
  const auto second = shop.nibble({"generate", shop("model"), "--prompt", so_far, "--max-new-tokens", "5", "--json"});
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(messages[4].at("content"), second.json().at("text"));
  // Without --json, the answers alone are on stdout, a line each here.
  const auto lines = shop.nibble(words);
  EXPECT_EQ(lines.out, messages[2].at("content").get<std::string>() + "\n" + messages[4].at("content").get<std::string>() + "\n");
}

TEST(GenerateCommand, RefusesATokenizerThatIsLargerThanTheModel) {
  const test::RunWorkshop shop;
  give_tokens(shop, 100);
  const auto done = shop.nibble({"generate", shop("model"), "--prompt", "123", "--json"});
  EXPECT_EQ(done.exit_code, 5);
  EXPECT_NE(done.err.find("do not belong together"), std::string::npos) << done.err;
}

TEST_F(FinishedRun, PlanSumsUpItsComponents) {
  const auto plan = json({"plan", shop()("run.yaml")});
  int64_t sum = 0;
  for (const auto& component : plan.at("components")) sum += component.at("bytes").get<int64_t>();
  EXPECT_EQ(plan.at("total_bytes").at("cpu"), sum);
  EXPECT_TRUE(plan.contains("fits"));
  EXPECT_TRUE(plan.at("choices").contains("recompute"));
}

TEST_F(FinishedRun, ConfigurationIsCheckedAndShown) {
  EXPECT_EQ(shop().nibble({"config", "check", shop()("run.yaml")}).exit_code, 0);
  EXPECT_THAT(shop().nibble({"config", "show", shop()("run.yaml")}).out, HasSubstr("lora_r: 4"));
}

TEST_F(FinishedRun, BaseModelAloneIsScoredAndNotExported) {
  EXPECT_GT(json({"eval", shop()("model"), "--text", shop()("text.txt"), "--set", "max_length=64"}).at("perplexity"), 1.0);
  const auto refused = shop().nibble({"export", shop()("model"), shop()("nothing"), "--json"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.error().at("message"), HasSubstr("no adapter to export"));
}

TEST_F(FinishedRun, DoctorSaysWhatTheMachineHas) {
  const auto machine = json({"doctor"});
  EXPECT_FALSE(machine.empty());
  EXPECT_THAT(machine.dump(), HasSubstr("LibTorch"));
}

}  // namespace
}  // namespace nibble::trainer
